"""Three ways of doing one run's work: the bare models, the engine, and one image at a time.

All use the same checkpoints, number format, threads and draws, loaded beforehand and not counted,
and take turns round by round, so that a busy machine slows all of them.

*Bare*: the run's batches refilled to the brim, as if no draw had to wait for a verdict, through
generator, judge and scorer, and nothing else: no search, no log, no file. No program that runs
these models at this batch size in one process can be faster. *Engine*: whole runs. *One at a
time*, as the published scripts work: each draw alone, its prompt and feedback encoded anew,
judged alone, scored alone, and saved.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from harness.bench.sides import Measured, Round, Side
from harness.engine.device_memory import memory_held
from harness.engine.executors.base import Executor
from harness.engine.jobs import Answer, BatchResult, Drawn, Item, Job
from harness.engine.launch import Execution, make_executor, work
from harness.engine.worker import Setup, Worker
from harness.errors import HarnessError
from harness.log.run_folder import RunFolder
from harness.models.suites import ModelSpec
from harness.plan import Plan
from harness.records import Request, Role

Batches = Mapping[Role, Sequence[tuple[Item, ...]]]


class Kept:
    """An executor whose models stay loaded from run to run. Has state: the last run's work.

    Attributes:
        jobs: What the last run submitted.
        models: Seconds that it spent inside each role's model.
    """

    def __init__(self, inner: Executor) -> None:
        self._inner = inner
        self.jobs: list[Job] = []
        self.models: defaultdict[Role, float] = defaultdict(float)
        self.free = inner.free
        self.describe = inner.describe

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


def measure(
    plan: Plan,
    *,
    rounds: int,
    device: str,
    workers: int = 0,
    observe: Callable[[int, int], None] = lambda done, total: None,
) -> Measured:
    """Do the plan's work in every way, several times each, after one warm-up of all.

    Args:
        plan: Any run.
        rounds: How often.
        device: A torch device.
        workers: Measure the engine on so many Ray workers of each role, too, which share the
            plan's threads; 0 leaves it out.
        observe: Called with how many rounds are done, of how many.

    Raises:
        HarnessError: A model cannot be loaded, or fails.
    """
    load = psutil.getloadavg()[0]
    with _loaded(plan, Execution(executor="inline", device=device)) as kept:
        _engine(plan, kept)
        items = _items(kept.jobs)
        sizes = {role: spec.batch_size for role, spec in _specs(plan).items()}
        full: Batches = {role: _filled(plan, items[role], sizes[role]) for role in items}
        setup = Setup(_one_row(plan).config, plan.paths, device)
        alone = {role: Worker(role, setup) for role in items}
        fill = {role: len(items[role]) / _rows(kept.jobs, role, sizes[role]) for role in items}
        ways: dict[str, Callable[[], Round]] = {
            "bare": lambda: _bare(full, kept),
            "engine": lambda: _engine(plan, kept),
            "single": lambda: _one_at_a_time(items, alone),
        }
        with ExitStack() as stack:
            if workers:
                threads = max(1, plan.config.threads // workers)
                spread = _with(plan, threads=threads)
                execution = Execution(executor="ray", workers=workers, device=device)
                several = stack.enter_context(_loaded(spread, execution))
                ways["workers"] = lambda: _engine(spread, several)
            took: dict[str, list[Round]] = {name: [] for name in ways}
            for number in range(rounds + 1):
                for name, way in ways.items():
                    took[name].append(way())
                observe(number, rounds)
    draws = len(items[Role.GENERATOR])
    return Measured(
        sides={name: Side(draws, tuple(each[1:])) for name, each in took.items()},
        draws=draws,
        fill=fill,
        load=(load, psutil.getloadavg()[0]),
        cores=psutil.cpu_count() or 1,
        memory_bytes=memory_held(device),
    )


@contextmanager
def _loaded(plan: Plan, execution: Execution) -> Iterator[Kept]:
    executor = make_executor(plan, execution)
    try:
        executor.start()
        yield Kept(executor)
    finally:
        executor.close()


def _specs(plan: Plan) -> dict[Role, ModelSpec]:
    specs = {role: getattr(plan.config, role) for role in Role}
    return {role: spec for role, spec in specs.items() if spec is not None}


def _with(plan: Plan, **fields: Any) -> Plan:
    return replace(plan, config=plan.config.model_copy(update=fields))


def _one_row(plan: Plan) -> Plan:
    update = {"batch_size": 1}
    return _with(
        plan, **{str(r): spec.model_copy(update=update) for r, spec in _specs(plan).items()}
    )


def _items(jobs: Sequence[Job]) -> dict[Role, list[Item]]:
    roles = [role for role in Role if any(job.role is role for job in jobs)]
    return {
        role: [item for job in jobs if job.role is role for item in job.items] for role in roles
    }


def _rows(jobs: Sequence[Job], role: Role, size: int) -> int:
    return size * sum(job.role is role for job in jobs)


def _filled(plan: Plan, items: Sequence[Item], size: int) -> list[tuple[Item, ...]]:
    """Return batches as full as they can be; only draws of equal shape share one."""
    shapes: defaultdict[Any, list[Item]] = defaultdict(list)
    for item in items:
        shapes[_shape(plan, item)].append(item)
    return [
        tuple(rows[first : first + size])
        for rows in shapes.values()
        for first in range(0, len(rows), size)
    ]


def _shape(plan: Plan, item: Item) -> Hashable:
    return plan.resolver.shape(item) if isinstance(item, Request) else ()


def _bare(batches: Batches, kept: Kept) -> Round:
    """What the models take for themselves: images packed for the engine are not counted here."""
    kept.start()
    jobs = [(role, batch) for role, rows in batches.items() for batch in rows]
    for number, (role, batch) in enumerate(jobs):
        kept.submit(Job(number, role, batch))
        kept.wait(math.inf)
    return Round(sum(kept.models.values()), dict(kept.models))


def _engine(plan: Plan, kept: Kept) -> Round:
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        work(plan, Execution(), RunFolder(Path(folder) / "run"), command="bench", executor=kept)
        return Round(time.perf_counter() - started, dict(kept.models))


def _one_at_a_time(items: Mapping[Role, Sequence[Item]], workers: Mapping[Role, Worker]) -> Round:
    models: defaultdict[Role, float] = defaultdict(float)
    forget = getattr(workers[Role.GENERATOR].model, "forget", lambda: None)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        for role, each in items.items():
            for number, item in enumerate(each):
                forget()
                (answer,) = workers[role].run([item])
                models[role] += _seconds([answer])
                if isinstance(answer, Drawn):
                    (Path(folder) / f"{number:06d}.png").write_bytes(answer.png)
        return Round(time.perf_counter() - started, dict(models))


def _seconds(answers: Sequence[Answer]) -> float:
    return sum(answer.cost.device_seconds or 0.0 for answer in answers)
