"""Three ways of doing a run's work: the bare models, the engine, and one image at a time.

All use the same checkpoints, number format, threads and draws, loaded beforehand and not counted,
and take turns round by round, so that a busy machine slows all of them. Several runs of the same
models can take turns, too: a search that draws all at once, and one that draws one by one.

*Bare*: the run's draws in the fullest batches, as if none had to wait for a verdict, through
generator, judge and scorer, and nothing else: no search, no log, no file. No program that runs
these models at this batch size in one process can be faster. *Engine*: whole runs. *One at a
time*, as the published scripts work: each draw alone, its prompt and feedback encoded anew,
judged alone, scored alone, and saved. Its draws are the engine's, whatever search made them.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from harness.bench.sides import Measured, Round, Side
from harness.engine.devices import memory_held
from harness.engine.executors.base import Executor
from harness.engine.jobs import Answer, BatchResult, Drawn, Item, Job
from harness.engine.launch import Execution, make_executor, work
from harness.engine.worker import Setup, Worker
from harness.errors import HarnessError
from harness.log.run_folder import RunFolder
from harness.plan import Plan
from harness.records import Request, Role

WARM_UP = 8
"""Prompts that are enough to meet every model and batch shape once."""

Batches = Mapping[Role, Sequence[tuple[Item, ...]]]


class PersistentExecutor(Executor):
    """An executor whose models stay loaded from run to run. Has state: the last run's work.

    Attributes:
        jobs: What the last run submitted.
        models: Seconds that it spent inside each role's model.
    """

    def __init__(self, inner: Executor) -> None:
        self._inner = inner
        self.jobs: list[Job] = []
        self.models: defaultdict[Role, float] = defaultdict(float)

    def free(self, role: Role, *, idle: bool = True) -> int:
        """As of the executor within."""
        return self._inner.free(role, idle=idle)

    def describe(self) -> dict[str, Any]:
        """As of the executor within."""
        return self._inner.describe()

    def start(self) -> None:
        """Forget the last run's work."""
        self.jobs, self.models = [], defaultdict(float)

    def submit(self, job: Job) -> None:
        """Hand over a job."""
        self.jobs.append(job)
        self._inner.submit(job)

    def wait(self, timeout: float) -> Sequence[BatchResult]:
        """Wait for results, and add up their seconds.

        Raises:
            HarnessError: A batch failed: what is measured is to be undisturbed.
        """
        results = self._inner.wait(timeout)
        for result in results:
            if result.error is not None:
                raise HarnessError(f"a batch of the {result.job.role} failed: {result.error}")
            self.models[result.job.role] += _seconds(result.answers)
        return results

    def close(self) -> None:
        """Keep everything."""


@dataclass(frozen=True)
class _Regime:
    """One run's work, as the engine did it once.

    Attributes:
        items: What each role was asked, in this order.
        full: The same in batches as full as they can be.
        fill: Share of the rows of each role's batches that were asked for.
    """

    plan: Plan
    items: Mapping[Role, Sequence[Item]]
    full: Batches
    fill: Mapping[Role, float]

    @classmethod
    def of(cls, plan: Plan, executor: PersistentExecutor) -> _Regime:
        """Do a run to learn its draws."""
        _engine(plan, executor)
        items = _items(executor.jobs)
        sizes = {role: spec.batch_size for role, spec in plan.config.specs.items()}
        full = {role: _filled(plan, items[role], sizes[role]) for role in items}
        fill = {role: len(items[role]) / _rows(executor.jobs, role, sizes[role]) for role in items}
        return cls(plan, items, full, fill)

    @property
    def single(self) -> dict[Role, list[Item]]:
        """The same items, each a batch of one row."""
        return {
            role: [replace(item, rows=1) if isinstance(item, Request) else item for item in items]
            for role, items in self.items.items()
        }


def measure(
    plans: Sequence[Plan],
    *,
    rounds: int,
    device: str,
    workers: int = 0,
    observe: Callable[[int, int], None] = lambda done, total: None,
) -> list[Measured]:
    """Do the work of each plan in every way, several times each, after a warm-up of all.

    Warming up does the work of at most `WARM_UP` prompts, in batches of the same shapes.

    The engine is measured on so many Ray workers of each role, too, which share the plan's
    threads; 0 leaves that out. `observe` is called with how many rounds are done, of how many.

    Returns:
        One measurement a plan, in order.

    Raises:
        ValueError: The plans differ in models.
        HarnessError: A model cannot be loaded, or fails.
    """
    first = plans[0]
    if any(_models(plan) != _models(first) for plan in plans):
        raise ValueError("plans that are measured together have the same models")
    with ExitStack() as stack:
        loaded = stack.enter_context(_loaded(first, Execution(executor="inline", device=device)))
        setup = Setup(_one_row(first).config, first.paths, device)
        alone = {role: Worker(role, setup) for role in first.config.specs}
        threads = max(1, first.config.threads // (workers or 1))
        several = workers and stack.enter_context(
            _loaded(
                _with(first, threads=threads),
                Execution(executor="ray", workers=workers, device=device),
            )
        )

        def ways_of(regimes: Sequence[_Regime]) -> dict[tuple[int, str], Callable[[], Round]]:
            ways: dict[tuple[int, str], Callable[[], Round]] = {}
            for number, regime in enumerate(regimes):
                ways[number, "bare"] = partial(_bare, regime.full, loaded)
                ways[number, "engine"] = partial(_engine, regime.plan, loaded)
                ways[number, "single"] = partial(_one_at_a_time, regime.single, alone)
                if several:
                    spread = _with(regime.plan, threads=threads)
                    ways[number, "workers"] = partial(_spread, spread, several)
            return ways

        few = [replace(p, prompts=tuple(each for each, _ in p.searches[:WARM_UP])) for p in plans]
        for way in ways_of([_Regime.of(plan, loaded) for plan in few]).values():
            way()
        observe(0, rounds)
        regimes = [_Regime.of(plan, loaded) for plan in plans]
        ways = ways_of(regimes)
        took: dict[tuple[int, str], list[Round]] = {key: [] for key in ways}
        for done in range(1, rounds + 1):
            # To and fro, so that a machine that changes its pace favours nobody.
            for key in list(ways) if done % 2 else reversed(ways):
                took[key].append(ways[key]())
            observe(done, rounds)
    return [
        Measured(
            sides={
                name: Side(len(regime.items[Role.GENERATOR]), tuple(each))
                for (owner, name), each in took.items()
                if owner == number
            },
            draws=len(regime.items[Role.GENERATOR]),
            fill=regime.fill,
            cores=psutil.cpu_count() or 1,
            memory_bytes=memory_held(device),
        )
        for number, regime in enumerate(regimes)
    ]


@contextmanager
def _loaded(plan: Plan, execution: Execution) -> Iterator[PersistentExecutor]:
    executor = make_executor(plan, execution)
    try:
        executor.start()
        yield PersistentExecutor(executor)
    finally:
        executor.close()


def _models(plan: Plan) -> tuple[Any, ...]:
    return plan.config.specs, plan.config.digests, plan.config.benchmark, plan.config.threads


def _with(plan: Plan, **fields: Any) -> Plan:
    return replace(plan, config=plan.config.model_copy(update=fields))


def _one_row(plan: Plan) -> Plan:
    update = {"batch_size": 1}
    return _with(
        plan, **{str(r): spec.model_copy(update=update) for r, spec in plan.config.specs.items()}
    )


def _items(jobs: Sequence[Job]) -> dict[Role, list[Item]]:
    roles = [role for role in Role if any(job.role is role for job in jobs)]
    return {
        role: [item for job in jobs if job.role is role for item in job.items] for role in roles
    }


def _rows(jobs: Sequence[Job], role: Role, size: int) -> int:
    return sum(_size(job.items[0], size) for job in jobs if job.role is role)


def _filled(plan: Plan, items: Sequence[Item], size: int) -> list[tuple[Item, ...]]:
    """Return batches as full as they can be; only draws of equal shape share one."""
    shapes: defaultdict[Any, list[Item]] = defaultdict(list)
    for item in items:
        shape = plan.resolver.shape(item) if isinstance(item, Request) else ()
        shapes[shape].append(item)
    batches = []
    for rows in shapes.values():
        step = _size(rows[0], size)
        batches += [tuple(rows[first : first + step]) for first in range(0, len(rows), step)]
    return batches


def _size(item: Item, usual: int) -> int:
    """Return the rows of an item's batch: its own number, where it names one."""
    return (item.rows if isinstance(item, Request) else 0) or usual


def _bare(batches: Batches, executor: PersistentExecutor) -> Round:
    """Time the models alone: images packed for the engine are not counted here."""
    executor.start()
    jobs = [(role, batch) for role, rows in batches.items() for batch in rows]
    with Stopwatch() as watch:
        for number, (role, batch) in enumerate(jobs):
            executor.submit(Job(number, role, batch))
            executor.wait(math.inf)
    return Round(sum(executor.models.values()), dict(executor.models), watch.busy)


def _engine(plan: Plan, executor: PersistentExecutor) -> Round:
    with tempfile.TemporaryDirectory() as folder, Stopwatch() as watch:
        work(plan, Execution(), RunFolder(Path(folder) / "run"), command="bench", executor=executor)
    return Round(watch.seconds, dict(executor.models), watch.busy)


def _spread(plan: Plan, executor: PersistentExecutor) -> Round:
    return replace(_engine(plan, executor), busy=None)


def _one_at_a_time(items: Mapping[Role, Sequence[Item]], workers: Mapping[Role, Worker]) -> Round:
    models: defaultdict[Role, float] = defaultdict(float)
    forget = getattr(workers[Role.GENERATOR].model, "forget", lambda: None)
    with tempfile.TemporaryDirectory() as folder, Stopwatch() as watch:
        for role, each in items.items():
            for number, item in enumerate(each):
                forget()
                (answer,) = workers[role].run([item])
                models[role] += _seconds([answer])
                if isinstance(answer, Drawn):
                    (Path(folder) / f"{number:06d}.png").write_bytes(answer.png)
    return Round(watch.seconds, dict(models), watch.busy)


def _seconds(answers: Sequence[Answer]) -> float:
    return sum(answer.cost.device_seconds or 0.0 for answer in answers)


class Stopwatch:
    """Times a block. Has state: when it began, and afterwards the figures.

    Attributes:
        seconds: Wall time.
        busy: Processor cores that other processes kept busy, on average: what the system counts
            as used less what this process used.
    """

    seconds = 0.0
    busy = 0.0

    def __enter__(self) -> Stopwatch:
        """Start."""
        self._others, self._began = _others(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.seconds = time.perf_counter() - self._began
        # Both counts come in ticks of some 10 ms, so that a short block can end below zero.
        self.busy = max(0.0, _others() - self._others) / self.seconds


def _others() -> float:
    """Return processor seconds that others have used since the machine was started."""
    times = psutil.cpu_times()
    # A guest's time is in that of its host's users already.
    idle = ("idle", "iowait", "guest", "guest_nice")
    used = sum(value for name, value in times._asdict().items() if name not in idle)
    return float(used - sum(psutil.Process().cpu_times()[:2]))
