"""The same config gives the same log, bit for bit, on real models.

Tiny random SANA, Mask2Former and CLIP; inline against shuffled order, and against two workers on
Ray that are killed on the way. Nothing may differ but times, workers and costs.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import harness
from harness.engine.launch import Execution
from harness.errors import Failure
from harness.plan import Ask, Plan, plan
from harness.records import Role
from tests.runs import ShuffledExecutor, contents, run
from tests.stubs import Faults
from tests.tiny import make_tiny_suite

pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("determinism")


@pytest.fixture(scope="module")
def faults(place: Path) -> Faults:
    return Faults.make(place / "faults")


@pytest.fixture(scope="module")
def ready(place: Path, faults: Faults) -> Plan:
    suite = make_tiny_suite(place)
    text = suite.read_text()
    flaky = text.replace('kind = "sana"', 'kind = "tests.flaky:FlakySana"').replace(
        'pipeline = "./tiny/pipeline"', 'pipeline = "./tiny/pipeline", faults = "./faults"'
    )
    assert flaky.count("faults") == 2 and "FlakySana" in flaky
    (place / "flaky.toml").write_text(flaky)
    return plan(Ask(model=str(place / "flaky.toml"), budget=3, limit=12, threads=1))


@pytest.fixture(scope="module")
def inline(place: Path, ready: Plan) -> Path:
    run(ready, place / "inline")
    return place / "inline"


def test_the_log_is_of_real_models(inline: Path) -> None:
    frame = harness.load(inline)
    assert len(frame) == 36 and frame["error"].isna().all()
    assert frame["image"].nunique() == 36
    assert frame["detections"].map(len).sum() > 0
    assert frame["judge_score"].nunique() > 1
    assert (frame[["generator_nfe", "generator_flops", "scorer_flops"]] > 0).all().all()


def test_shuffled_arrival(inline: Path, ready: Plan, tmp_path: Path) -> None:
    run(ready, tmp_path / "run", executor=ShuffledExecutor(ready, seed=5))
    assert contents(tmp_path / "run") == contents(inline)


def test_two_workers_killed_on_the_way(
    inline: Path, ready: Plan, tmp_path: Path, faults: Faults
) -> None:
    faults.add("generator", "kill", 0)
    faults.add("generator", "exit", 1)
    progress = run(ready, tmp_path / "run", execution=Execution(executor="ray", workers=2))
    assert not faults.left()
    assert progress is not None and progress.failures == {(Role.GENERATOR, Failure.KILLED): 2}
    assert contents(tmp_path / "run") == contents(inline)
