"""The promises of a metric. Subclass `MetricContract` to hold yours against it.

class TestMine(MetricContract):
    @pytest.fixture(scope="class")
    @classmethod
    def metric(cls):
        return MyMetric.load(Loading(...))

and with `pairs`, as `harness.testing.looks` shows.
"""

from __future__ import annotations

import dataclasses
import math

import pytest

from harness.models.base import Metric
from harness.records import Cost
from harness.testing.looks import Ask, LookContract


class MetricContract(LookContract):
    """A metric is what everything that looks at images is, and its values tell images apart."""

    @pytest.fixture(scope="class")
    @classmethod
    def metric(cls) -> Metric:
        """The metric, loaded on the CPU with a batch size above 1."""
        raise NotImplementedError("return the metric to be tested")

    @pytest.fixture(scope="class")
    @classmethod
    def ask(cls, metric: Metric) -> Ask:
        """The metric's values of a batch."""
        return metric.measure

    def test_its_options_and_parts_are_known_unloaded(self, metric: Metric) -> None:
        factory = type(metric)
        assert dataclasses.is_dataclass(factory.Settings)  # type: ignore[attr-defined]
        assert isinstance(factory.main_part, str)  # type: ignore[attr-defined]
        assert all(map(str, factory.checkpoints.values()))  # type: ignore[attr-defined]

    def test_each_row_gets_a_finite_number(self, answers: list[tuple[float, Cost]]) -> None:
        assert all(isinstance(value, float) and math.isfinite(value) for value, _ in answers)
        assert len({value for value, _ in answers}) > 1
