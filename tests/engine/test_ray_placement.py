"""Which actor gets the next job, and how a cluster is started; without one."""

from __future__ import annotations

import os
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from harness.engine.executors.actor import Slot
from harness.engine.executors.cluster import connect
from harness.engine.executors.ray import RayExecutor
from harness.engine.jobs import Job
from harness.records import Role

NICENESS = "RAY_worker_niceness"


def test_idle_actors_take_turns() -> None:
    taken: Counter[str] = Counter()

    def actor(name: str) -> Any:
        def remote(items: object) -> None:
            taken[name] += 1

        return SimpleNamespace(run=SimpleNamespace(remote=remote))

    executor = RayExecutor(None, {})  # type: ignore[arg-type]
    names = [f"judge-{number}" for number in range(4)]
    executor._slots = [Slot(name, Role.JUDGE, actor=actor(name)) for name in names]
    for number in range(12):
        executor.submit(Job(number, Role.JUDGE, ()))
        for slot in executor._slots:  # done long before the next one comes
            slot.jobs.clear()
    assert [taken[name] for name in names] == [3, 3, 3, 3]
    executor._slots[0].jobs.append(Job(99, Role.JUDGE, ()))
    executor.submit(Job(100, Role.JUDGE, ()))
    assert taken["judge-0"] == 3, "a busy actor was preferred to idle ones"


@pytest.mark.parametrize("own", [None, "7"])
def test_workers_do_not_step_back_behind_other_processes(
    monkeypatch: pytest.MonkeyPatch, own: str | None
) -> None:
    seen: list[str | None] = []
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **_: seen.append(os.environ.get(NICENESS)))
    monkeypatch.delenv(NICENESS, raising=False)
    if own is not None:
        monkeypatch.setenv(NICENESS, own)
    assert connect(None)
    assert seen == [own or "0"]
    monkeypatch.delenv(NICENESS)
