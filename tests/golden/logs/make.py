"""Makes the golden runs of the schema version that today's code writes. Not part of any test.

    python -m tests.golden.logs.make

Run it once for every new `SCHEMA_VERSION` (or when a column is added within one: then under a
name of its own, such as v1b) and commit the folder. What was made before is never made again:
these files are the only witnesses of what earlier programs wrote.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from harness.errors import Interrupted
from harness.log.schema import SCHEMA_VERSION
from harness.plan import Ask, Plan, plan
from harness.records import Made, Request
from tests.runs import run
from tests.stubs import StubBenchmark, StubGenerator

HERE = Path(__file__).parent

SUITE = """\
name = "golden"
miniature = true

[generator]
kind = "tests.golden.logs.make:GoldenGenerator"
checkpoints = {}
dtype = "float32"
batch_size = 4

[judge]
kind = "tests.stubs:StubJudge"
checkpoints = {}
dtype = "float32"
batch_size = 4

[scorer]
checkpoints = {}
dtype = "float32"
batch_size = 4
"""


class GoldenGenerator(StubGenerator):
    """Fails for one prompt, so that the golden runs hold error rows too."""

    def generate(self, requests: list[Request]) -> list[Made]:  # type: ignore[override]
        if any(request.text == "thing 3" for request in requests):
            raise RuntimeError("it never could draw 3 things")
        return super().generate(requests)


def golden_plan(folder: Path) -> Plan:
    """Reflection, so that rows hold feedback; two replicates; one prompt that always fails."""
    suite = folder / "golden.toml"
    suite.write_text(SUITE)
    asked = {"benchmark": "tests.stubs:StubBenchmark", "benchmark_options": {"size": "6"}}
    return plan(Ask(model=str(suite), strategy="reflect", budget=3, replicates=2, **asked))  # type: ignore[arg-type]


def main() -> None:
    version = HERE / f"v{SCHEMA_VERSION}"
    if version.exists():
        raise SystemExit(f"{version} is there already, and stays as it is")
    version.mkdir()
    StubBenchmark.parts = {}  # the suite's scorer has no checkpoint
    ready = golden_plan(version)
    steps = iter(range(14))
    with contextlib.suppress(Interrupted):
        run(ready, version / "stopped", stop=lambda: next(steps, None) is None)
    shutil.copytree(version / "stopped", version / "finished")
    run(ready, version / "finished")
    for path in version.rglob(".lock"):
        path.unlink()


if __name__ == "__main__":
    main()
