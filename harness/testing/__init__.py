"""The contracts of every kind of plug-in, as test classes for their authors to subclass.

    from harness.testing import StrategyContract

    class TestMine(StrategyContract):
        def strategy(self):
            return Mine(rounds=3)

pytest then runs every test of the contract against the plug-in. They need the extra `testing`.
"""

from __future__ import annotations

try:
    import hypothesis as _hypothesis  # noqa: F401
    import pytest
except ImportError as error:
    raise ImportError(
        f"harness.testing needs {error.name}, which the product itself does not: "
        "pip install 'inference-scaling-harness[testing]'",
        name=error.name,
    ) from None

# Before they are imported: a failed assertion is to show its values, wherever this is installed.
_MODULES = ("benchmarks", "detectors", "generators", "looks", "strategies", "suites")
pytest.register_assert_rewrite(*(f"{__name__}.{module}" for module in _MODULES))

from harness.testing.benchmarks import BenchmarkContract  # noqa: E402
from harness.testing.detectors import DetectorContract  # noqa: E402
from harness.testing.generators import GeneratorContract  # noqa: E402
from harness.testing.looks import (  # noqa: E402
    JudgeContract,
    LookContract,
    MetricContract,
    ScorerContract,
)
from harness.testing.strategies import StrategyContract, inherited, play, world  # noqa: E402
from harness.testing.suites import SuiteContract  # noqa: E402

__all__ = [
    "BenchmarkContract",
    "DetectorContract",
    "GeneratorContract",
    "JudgeContract",
    "LookContract",
    "MetricContract",
    "ScorerContract",
    "StrategyContract",
    "SuiteContract",
    "inherited",
    "play",
    "world",
]
