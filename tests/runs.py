"""Shorthand for tests that run things."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from harness.engine.executors.base import Executor
from harness.engine.executors.inline import InlineExecutor
from harness.engine.jobs import BatchResult, Job
from harness.engine.launch import Execution, work
from harness.engine.progress import Progress
from harness.engine.worker import Setup, Worker
from harness.errors import Interrupted
from harness.log import store
from harness.log.run_folder import RunFolder
from harness.log.schema import content
from harness.plan import Ask, Plan, plan
from harness.records import Role

STUBS: dict[str, Any] = {"benchmark": "tests.stubs:StubBenchmark"}


def stub_plan(suite: Path, **ask: Any) -> Plan:
    return plan(Ask(**{**STUBS, "model": str(suite), "budget": 4, **ask}))


def run(
    ready: Plan,
    folder: Path,
    *,
    execution: Execution | None = None,
    executor: Executor | None = None,
    stop: Callable[[], bool] = lambda: False,
    reuse: Sequence[Path] = (),
) -> Progress | None:
    return work(
        ready,
        execution or Execution(executor="inline"),
        RunFolder(folder),
        command="test",
        executor=executor,
        stop=stop,
        reuse=[RunFolder(pool) for pool in reuse],
    )


def run_in_parts(ready: Plan, folder: Path, first: int) -> int:
    """Run with stops, the first after so many turns, each later one a turn later.

    Returns:
        The sessions that it took.
    """
    sessions = 0
    while True:
        left = iter(range(first + sessions))
        sessions += 1
        with suppress(Interrupted):
            run(ready, folder, stop=lambda left=left: next(left, None) is None)
            return sessions


def contents(folder: Path) -> tuple[pa.Table, pa.Table]:
    """What must be equal between equal runs."""
    log = RunFolder(folder).log
    return content(store.read(log, "candidates")), content(store.read(log, "searches"))


class ShuffledExecutor(InlineExecutor):
    """Holds several jobs at once and answers them in random order, some late."""

    def __init__(self, ready: Plan, seed: int, depth: int = 3) -> None:
        roles = list(ready.config.specs)
        super().__init__(Setup(ready.config, ready.paths), roles)
        self._random = random.Random(seed)
        self._depth = depth
        self._held: dict[Role, list[Job]] = {role: [] for role in roles}

    def free(self, role: Role, *, idle: bool = True) -> int:
        if role not in self._held:
            return 0
        return max(0, (1 if idle else self._depth) - len(self._held[role]))

    def submit(self, job: Job) -> None:
        self._held[job.role].append(job)

    def wait(self, timeout: float) -> Sequence[BatchResult]:
        busy = [role for role, jobs in self._held.items() if jobs]
        if not busy:
            return ()
        jobs = self._held[self._random.choice(busy)]
        job = jobs.pop(self._random.randrange(len(jobs)))
        worker: Worker = self._workers[job.role]
        try:
            return [BatchResult(job, "shuffled", answers=tuple(worker.run(job.items)))]
        except Exception as error:
            return [BatchResult(job, "shuffled", error=f"{type(error).__name__}: {error}")]


def bare_config() -> dict[str, Any]:
    """The least that a manifest's config holds."""
    plugin, model = {"name": "n", "options": {}}, {"kind": "k", "checkpoints": {}}
    config = {"strategy": plugin, "benchmark": plugin, "generator": model, "judge": model}
    numbers = {"budget": 1, "replicates": 1, "seed": 0}
    return {**config, **numbers, "scorer": None, "suite": "s", "oracle": False, "digests": {}}
