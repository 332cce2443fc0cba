"""What becomes of work when actors die, hang, or find no place; each a defect seen once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    NodeDiedError,
    OutOfMemoryError,
    RayError,
)

from harness.engine.executors.actor import Slot
from harness.engine.executors.base import Patience
from harness.engine.executors.ray import Placement, RayExecutor
from harness.engine.jobs import Job
from harness.engine.worker import Setup
from harness.errors import Failure, HarnessError
from harness.records import Role
from tests.engine.executor_contract import draws, finish
from tests.runs import stub_plan
from tests.stubs import Faults, make_stub_suite
from tests.terminal import wait_until

GENERATOR = Role.GENERATOR
NOWHERE = Placement(gpus=1000.0)


@pytest.fixture
def pair(tmp_path: Path, ray_cluster: None) -> Iterator[RayExecutor]:
    """Two generators that have done a batch each."""
    yield from started(tmp_path, workers=2)


@pytest.fixture
def single(tmp_path: Path, ray_cluster: None) -> Iterator[RayExecutor]:
    yield from started(tmp_path, workers=1)


def started(folder: Path, workers: int) -> Iterator[RayExecutor]:
    ready = stub_plan(make_stub_suite(folder)[0])
    executor = RayExecutor(
        Setup(ready.config, ready.paths),
        {GENERATOR: Placement(workers)},
        patience=Patience(batch=5.0, first=60.0),
    )
    try:
        executor.start()
        for number in range(workers):
            executor.submit(Job(-number, GENERATOR, draws(0)))
        assert {outcome.worker for outcome in finish(executor, workers)} == {
            f"generator-{number}" for number in range(workers)
        }
        yield executor
    finally:
        executor.close()


def test_work_behind_a_dead_actor_goes_to_a_living_one(pair: RayExecutor, faults: Faults) -> None:
    pair._placement[GENERATOR] = NOWHERE  # as if its machine had gone: no replacement will come
    faults.add("generator", "kill", "once-thing 1")
    for number in (1, 2, 3):  # the first and the third to the one that dies
        pair.submit(Job(number, GENERATOR, draws(number)))
    outcomes = {outcome.job.id: outcome for outcome in finish(pair, 3)}
    dead, living = outcomes[1].worker, outcomes[2].worker
    assert outcomes[1].crashed and outcomes[1].failure is Failure.KILLED
    assert outcomes[3].error is None and outcomes[3].worker == living != dead
    assert pair.free(GENERATOR) == 1  # and on it goes, with one
    for number in (4, 5):
        pair.submit(Job(number, GENERATOR, draws(number)))
    assert {outcome.worker for outcome in finish(pair, 2)} == {living}


def test_a_role_of_which_none_is_left_ends_the_run(single: RayExecutor, faults: Faults) -> None:
    single._placement[GENERATOR] = NOWHERE
    single._patience = replace(single._patience, place=1.0)
    faults.add("generator", "exit", 0)
    single.submit(Job(1, GENERATOR, draws(1)))
    single.submit(Job(2, GENERATOR, draws(2)))
    assert finish(single, 1)[0].crashed
    with pytest.raises(HarnessError, match="no generator is left, and none of the generators fou"):
        finish(single, 1)


@pytest.mark.usefixtures("ray_cluster")
def test_no_place_from_the_start_is_one_sentence(tmp_path: Path) -> None:
    ready = stub_plan(make_stub_suite(tmp_path)[0])
    holder = ray.remote(num_gpus=4)(type("Holder", (), {"ping": lambda self: None})).remote()
    ray.get(holder.ping.remote())
    executor = RayExecutor(
        Setup(ready.config, ready.paths),
        {GENERATOR: Placement(gpus=1.0)},
        patience=Patience(place=1.0),
    )
    try:
        with pytest.raises(HarnessError, match="none of the generators found a place") as caught:
            executor.start()
        assert "ray status" in caught.value.hint
    finally:
        executor.close()
        ray.kill(holder)


@pytest.mark.parametrize("kind", ["hang", "freeze"])
def test_a_batch_past_its_deadline_costs_its_worker(
    single: RayExecutor, faults: Faults, kind: str
) -> None:
    before = single.describe()["workers"]["generator-0"]["pid"]
    faults.add("generator", kind, 0)
    single.submit(Job(1, GENERATOR, draws(1)))
    single.submit(Job(2, GENERATOR, draws(2)))
    first, second = finish(single, 2)
    assert first.job.id == 1 and first.failure is Failure.HANG and first.crashed
    assert first.error == "worker killed: the batch ran past its deadline of 5 s"
    assert second.job.id == 2 and second.error is None
    assert single.describe()["workers"]["generator-0"]["pid"] != before
    assert single.describe()["deaths"] == {"generator": {"hang": 1}}


def test_a_replacement_that_cannot_load_is_given_up_while_others_live(
    pair: RayExecutor, faults: Faults
) -> None:
    faults.add("load", "error", 0)
    faults.add("generator", "kill", "once-thing 1")
    pair.submit(Job(1, GENERATOR, draws(1)))
    assert finish(pair, 1)[0].crashed

    def is_given_up() -> bool:
        pair.wait(0.5)
        return len(pair.describe()["workers"]) == 1

    wait_until(is_given_up)
    ((name, why),) = pair.describe()["given_up"].items()
    assert name.startswith("generator") and "scripted failure" in why
    pair.submit(Job(2, GENERATOR, draws(2)))
    assert finish(pair, 1)[0].error is None


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (OutOfMemoryError("Task was killed due to the node running low on memory."),
         Failure.OUT_OF_MEMORY),
        (ActorUnavailableError("socket closed", b"0" * 16), Failure.KILLED),
        (ActorDiedError(), Failure.KILLED),
        (NodeDiedError("gone"), Failure.NODE_LOST),
    ],
)  # fmt: skip
def test_every_way_to_lose_an_actor_kills_counts_and_replaces_it(
    monkeypatch: pytest.MonkeyPatch, error: RayError, failure: Failure
) -> None:
    killed: list[Any] = []
    refs = iter(range(100))

    def fail(ref: object) -> None:
        raise error

    def actor() -> Any:
        return SimpleNamespace(run=SimpleNamespace(remote=lambda items: next(refs)))

    monkeypatch.setattr(ray, "get", fail)
    monkeypatch.setattr(ray, "kill", killed.append)
    monkeypatch.setattr(ray, "nodes", list)
    monkeypatch.setattr(Slot, "fill", lambda slot, *_, **__: setattr(slot, "actor", "new"))
    executor = RayExecutor(None, {Role.JUDGE: Placement()})  # type: ignore[arg-type]
    slot = Slot("judge-0", Role.JUDGE, actor=actor())
    executor._slots = [slot]
    lost = slot.actor
    executor.submit(Job(1, Role.JUDGE, ()))
    monkeypatch.setattr(ray, "wait", lambda refs, **_: (refs, []))
    (outcome,) = executor.wait(0.0)
    assert outcome.crashed and outcome.failure is failure
    assert outcome.error == f"worker died: {failure}"
    assert killed == [lost] and slot.actor == "new"
    assert executor.describe()["deaths"] == {"judge": {str(failure): 1}}
