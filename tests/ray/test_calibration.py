"""Batch sizes measured on a Ray actor, which may not live to the end of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import ray
from ray.exceptions import ActorDiedError, OutOfMemoryError, RayError, WorkerCrashedError

from harness.engine.calibration import calibrate
from harness.engine.executors.base import Patience
from harness.engine.launch import Execution
from harness.errors import HarnessError
from tests.runs import stub_plan
from tests.stubs import Faults

pytestmark = pytest.mark.usefixtures("ray_cluster")

ON_RAY = Execution(executor="ray")
KILLED = OutOfMemoryError("Task was killed due to the node running low on memory.")


def test_sizes_are_measured_on_an_actor(suite: Path) -> None:
    result = calibrate(stub_plan(suite), ON_RAY)
    assert result.batch_size in {size.batch_size for size in result.sizes}
    assert all(size.images_per_second > 0 and size.memory_bytes > 0 for size in result.sizes)


def test_an_actor_that_dies_leaves_the_sizes_before(suite: Path, faults: Faults) -> None:
    faults.add("generator", "kill", "on-of 1 dogs")  # the second row, so any batch of two or more
    result = calibrate(stub_plan(suite), ON_RAY)
    assert [size.batch_size for size in result.sizes] == [1] and result.batch_size == 1
    assert result.stopped.startswith("the worker that tried a batch of 2 was lost (")
    assert "\n" not in result.stopped


def test_an_actor_that_dies_at_once_is_one_sentence(suite: Path, faults: Faults) -> None:
    faults.add("generator", "kill", "on-of 0 dogs")
    with pytest.raises(HarnessError, match="the worker that tried a batch of 1 was lost") as caught:
        calibrate(stub_plan(suite), ON_RAY)
    assert "--batch-size" in caught.value.hint


def test_what_the_model_raises_is_told_apart(suite: Path, faults: Faults) -> None:
    faults.add("generator", "memory", "on-of 1 dogs")
    assert calibrate(stub_plan(suite), ON_RAY).stopped == "a batch of 2 does not fit into memory"
    faults.add("generator", "error", "on-of 0 dogs")
    with pytest.raises(HarnessError, match="cannot be measured: scripted failure"):
        calibrate(stub_plan(suite), ON_RAY)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (KILLED, "its machine ran out of memory"),
        (ActorDiedError(), "The actor died"),
        (WorkerCrashedError(), "The worker died unexpectedly while executing this task)"),
    ],
)
def test_every_way_to_lose_the_actor_is_told(
    suite: Path, monkeypatch: pytest.MonkeyPatch, error: RayError, says: str
) -> None:
    get, asked = ray.get, []

    def lose_the_second(ref: Any) -> Any:
        asked.append(ref)
        if len(asked) == 2:
            raise error
        return get(ref)

    monkeypatch.setattr(ray, "get", lose_the_second)
    result = calibrate(stub_plan(suite), ON_RAY)
    assert [size.batch_size for size in result.sizes] == [1]
    assert (
        result.stopped.startswith("the worker that tried a batch of 2") and says in result.stopped
    )


def test_a_place_in_the_cluster_is_not_waited_for_for_ever(suite: Path) -> None:
    """As on a cluster whose GPUs others hold."""
    holder = ray.remote(Holder).options(num_cpus=8).remote()
    assert ray.get(holder.here.remote())
    try:
        with pytest.raises(HarnessError, match="found no place in the cluster within 1 s") as it:
            calibrate(stub_plan(suite), Execution(executor="ray", patience=Patience(place=1)))
        assert "ray status" in it.value.hint
    finally:
        ray.kill(holder)


def test_a_batch_is_not_waited_for_for_ever(suite: Path, faults: Faults) -> None:
    faults.add("generator", "hang", "on-of 1 dogs")
    patience = Patience(batch=0.5, first=5, load=10)
    result = calibrate(stub_plan(suite), Execution(executor="ray", patience=patience))
    assert [size.batch_size for size in result.sizes] == [1]
    assert result.stopped == "a batch of 2 ran past its deadline"


class Holder:
    """Holds processors."""

    def here(self) -> bool:
        return True
