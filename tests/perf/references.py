"""A run of pretended models on a cluster's terms: images of 2 MB that the driver never sees.

The executor hands out references as Ray's does, so what is measured is the driver's own work:
searches, identities, dispatch, rows and log. What Ray itself takes of the driver for a batch and
its images is measured apart, on real actors.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from harness.engine.executors.pixels import Writers
from harness.engine.jobs import Answer, BatchResult, Drawn, Item, Job, Remote
from harness.engine.launch import Execution, work
from harness.log.images import ImageStore
from harness.log.run_folder import RunFolder
from harness.records import Cost, Role
from strategies.best_of_n import BestOfN
from tests.fakes import FakeExecutor, fake_plan


@dataclass
class ReferringExecutor(FakeExecutor):
    """Answers draws with references to images that nobody holds."""

    def _answer(self, role: Role, item: Item, seconds: float) -> Answer:
        answer = super()._answer(role, item, seconds)
        return replace(answer, png=Remote(object())) if isinstance(answer, Drawn) else answer


@dataclass(frozen=True)
class Driver:
    """What a run took of its driver.

    Attributes:
        images: How many were made.
        processor_seconds: Of this process.
        seconds: Wall time.
        memory: Bytes that it held at the first tenth of the images, and at the end.
    """

    images: int
    processor_seconds: float
    seconds: float
    memory: tuple[int, int]


def drive(folder: Path, *, workers: int, prompts: int, budget: int, latency: float) -> Driver:
    """Run best-of-n on so many pretended workers of each role.

    Args:
        folder: The run's, new.
        workers: Of each role.
        prompts: Searches.
        budget: Draws of each.
        latency: Seconds that a batch of eight takes.
    """
    plan = fake_plan(BestOfN(), prompts=prompts, budget=budget, keep="all")
    process = psutil.Process()
    memory: list[int] = []

    def observe(progress: Any) -> None:
        if not memory and progress.draws > prompts * budget / 10:
            memory.append(process.memory_info().rss)

    before, began = time.process_time(), time.perf_counter()
    executor = ReferringExecutor(dict.fromkeys(Role, latency), workers=workers)
    run = RunFolder(folder)
    work(plan, Execution(), run, command="perf", executor=executor, observe=observe)
    return Driver(
        prompts * budget,
        time.process_time() - before,
        time.perf_counter() - began,
        (memory[0] if memory else 0, process.memory_info().rss),
    )


class Maker:
    """A pretended generator: makes images of 2 MB at once, and nothing else."""

    def run(self, items: Sequence[int], *pixels: Any) -> Any:
        """Return an answer and as many images."""
        made = (np.full((836, 836, 3), item % 256, np.uint8) for item in items)
        return (list(items), *made)


def drive_ray(folder: Path, *, batches: int, rows: int = 8, makers: int = 2) -> Driver:
    """Make images on real actors, have a third one write them, and count what the driver takes.

    Args:
        folder: For the images; new.
        batches: How many.
        rows: Images of a batch.
        makers: Actors that make them.
    """
    import ray

    ImageStore(folder)
    writers = Writers(folder)
    writers.start()
    actors = [ray.remote(num_cpus=0)(Maker).remote() for _ in range(makers)]
    ray.get([actor.run.options(num_returns=2).remote((0,))[0] for actor in actors])
    memory: list[int] = []
    running: dict[Any, list[Any]] = {}
    given = done = 0
    before, began = time.process_time(), time.perf_counter()
    while done < batches:
        while given < batches and len(running) < 2 * makers and writers.batches < 4:
            run = actors[given % makers].run.options(num_returns=1 + rows)
            numbers = tuple(range(given * rows, (given + 1) * rows))
            answer, *made = run.remote(numbers)
            running[answer] = made
            given += 1
        awaited = [*running, *writers.awaited]
        ready, _ = ray.wait(awaited, num_returns=1, timeout=10, fetch_local=False)
        for reference in ready:
            if reference not in running:
                done += writers.acknowledge(reference) is not None
                continue
            numbers, made = ray.get(reference), running.pop(reference)
            answers = tuple(
                Drawn(Remote(image), f"{number:032x}", Cost())
                for number, image in zip(numbers, made, strict=True)
            )
            writers.store(BatchResult(Job(given, Role.GENERATOR, ()), "maker", answers))
        if not memory and done > batches / 10:
            memory.append(psutil.Process().memory_info().rss)
    took = Driver(
        batches * rows,
        time.process_time() - before,
        time.perf_counter() - began,
        (memory[0], psutil.Process().memory_info().rss),
    )
    writers.close()
    for actor in actors:
        ray.kill(actor)
    return took
