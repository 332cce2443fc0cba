"""A long run without models: does the driver's memory stay flat, and is resuming quick?

A run is stopped shortly before its end and resumed. Memory is this process's resident set,
sampled as the run goes; the log's shards are merged at the end, in memory, which is the peak.
Images are some 20 KB each and differ, so that kept ones show. A scorer that is slower than the
generator is the hard case: every image waits for it, and none is to be drawn that would only wait.
"""

from __future__ import annotations

import contextlib
import gc
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from harness.engine.launch import Execution, work
from harness.engine.progress import Progress
from harness.errors import Interrupted
from harness.log import shards, store
from harness.log.location import local
from harness.log.run_folder import RunFolder
from harness.records import Role
from strategies.best_of_n import BestOfN
from tests.fakes import FakeExecutor, fake_plan

STOPPED_AT = 0.9
"""Share of the candidates after which the run is stopped."""

SETTLED_AT = 0.1
"""Share after which memory counts: buffers have been filled and written by then."""


@dataclass(frozen=True)
class Load:
    """What the run took.

    Attributes:
        candidates: Rows in the log at the end.
        seconds: Of both sessions together.
        cpu_seconds: Processor time of both.
        start_bytes: Resident memory when the first draws were asked for.
        early_bytes: The same once settled.
        late_bytes: The most resident memory between then and the stop.
        peak_bytes: The most at all, merging included.
        resume_seconds: From the second start to its first new candidate.
        shards: Files of the log before merging, and after.
        log_bytes: Size of the merged log.
    """

    candidates: int
    seconds: float
    cpu_seconds: float
    start_bytes: int
    early_bytes: int
    late_bytes: int
    peak_bytes: int
    resume_seconds: float
    shards: tuple[int, int]
    log_bytes: int


def measure_load(
    folder: Path,
    *,
    candidates: int,
    latency: float,
    scorer_latency: float | None = None,
    workers: int = 2,
    budget: int = 20,
    observe: Callable[[int, int], None] = lambda done, total: None,
    memory: Callable[[], int] | None = None,
) -> Load:
    """Run, stop, resume and finish a run whose batches take a fixed time.

    Args:
        folder: Where the run goes.
        candidates: How many draws in all.
        latency: Seconds of a batch of eight, of every role.
        scorer_latency: The scorer's, where it is another.
        workers: Workers of each role.
        budget: Draws of a search.
        observe: Called with how many draws are done, of how many.
        memory: What this process holds, in bytes; its resident set by default, the peak always.
    """
    process = psutil.Process()
    held = memory or (lambda: process.memory_info().rss)
    seconds = dict.fromkeys(Role, latency)
    if scorer_latency is not None:
        seconds[Role.SCORER] = scorer_latency
    prompts = max(1, candidates // budget)
    plan = fake_plan(BestOfN(), prompts=prompts, budget=budget)
    total, run = prompts * budget, RunFolder(folder)
    samples: list[tuple[int, int]] = []
    drawn, first_new = 0, 0.0

    def watch(progress: Progress) -> None:
        nonlocal drawn, first_new
        if progress.draws and not first_new:
            first_new = time.monotonic()
        drawn = progress.draws + progress.replayed
        if not samples or drawn - samples[-1][0] >= total // 100:
            samples.append((drawn, held()))
            observe(drawn, total)

    def session(stop: Callable[[], bool]) -> float:
        executor = FakeExecutor(seconds, workers=workers)
        started = time.monotonic()
        work(plan, Execution(), run, command="bench", observe=watch, stop=stop, executor=executor)
        return started

    began, cpu = time.monotonic(), time.process_time()
    with contextlib.suppress(Interrupted):
        session(lambda: drawn >= STOPPED_AT * total)
    gc.collect()
    settled = [size for done, size in samples if done >= SETTLED_AT * total]
    before = sum(len(shards.discover(run.log, table)) for table in ("candidates", "searches"))
    first_new = 0.0
    resumed = session(lambda: False)
    files = list(local(run.log).iterdir())
    late = max(settled)
    # The kernel keeps its peak apart from the present size and updates it less often.
    peak = max(late, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
    return Load(
        candidates=store.read(run.log, "candidates", ["draw_id"]).num_rows,
        seconds=time.monotonic() - began,
        cpu_seconds=time.process_time() - cpu,
        start_bytes=samples[0][1],
        early_bytes=settled[0],
        late_bytes=late,
        peak_bytes=peak,
        resume_seconds=first_new - resumed,
        shards=(before, len(files)),
        log_bytes=sum(path.stat().st_size for path in files),
    )
