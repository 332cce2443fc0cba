"""What the driver does beside the models, piece by piece: searches and scheduler, engine, log."""

from __future__ import annotations

import random
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.bench.pretend import PretendedExecutor, pretended_plan
from harness.engine.launch import Execution, work
from harness.engine.pending import OpenSearch, Pending
from harness.engine.rows import candidate_row
from harness.engine.searches import Search
from harness.engine.sources import Known
from harness.log.run_folder import RunFolder
from harness.log.store import LogWriter
from harness.records import Cost, Detection, Draw, Prompt, Request, Role, Score, Verdict
from harness.simulate.simulation import simulate
from harness.simulate.workload import Workload
from strategies.base import Strategy
from strategies.best_of_n import BestOfN
from strategies.reflect import Reflect

OPEN = (500, 1000, 2000, 4000)
"""Numbers of open searches whose memory is measured."""


@dataclass(frozen=True)
class Bookkeeping:
    """How fast the driver could go if models took no time. Medians over rounds.

    Rates are by the second of processor time: one thread does all of it, and what other
    programs on the machine take away is none of its doing.

    Attributes:
        chained: Candidates a second through searches and dispatcher, drawn one by one (reflect).
        pooled: The same, drawn all at once (best-of-n).
        engine: Candidates a second through the whole engine, log and image store included.
        search_bytes: (open searches, bytes they hold) for several numbers.
        log_rows: Rows a second appended, written and merged.
        row_bytes: Bytes of such a row on disk.
    """

    chained: float
    pooled: float
    engine: float
    search_bytes: tuple[tuple[int, int], ...]
    log_rows: float
    row_bytes: float


def measure_bookkeeping(
    *,
    rounds: int,
    candidates: int,
    open_searches: Sequence[int] = OPEN,
    observe: Callable[[int, int], None] = lambda done, total: None,
) -> Bookkeeping:
    """Measure all of it.

    Args:
        rounds: How often each.
        candidates: Candidates, or rows, of a round.
        open_searches: Numbers of open searches whose memory is measured.
        observe: Called with how many rounds are done, of how many.
    """
    chained, pooled, engine, log = [], [], [], []
    for number in range(rounds):
        chained.append(searches_per_second(Reflect(), candidates))
        pooled.append(searches_per_second(BestOfN(), candidates))
        engine.append(engine_per_second(candidates))
        log.append(log_speed(candidates))
        observe(number + 1, rounds)
    return Bookkeeping(
        chained=statistics.median(chained),
        pooled=statistics.median(pooled),
        engine=statistics.median(engine),
        search_bytes=tuple((n, open_bytes(n)) for n in open_searches),
        log_rows=statistics.median(rows for rows, _ in log),
        row_bytes=log[-1][1],
    )


def searches_per_second(strategy: Strategy, candidates: int, budget: int = 20) -> float:
    """Candidates a second through real searches and the dispatcher; models take no time."""
    instant = dict.fromkeys((Role.GENERATOR, Role.JUDGE), 1.0)  # of virtual time
    prompts = max(1, candidates // budget)
    workload = Workload(instant, dict.fromkeys(Role, 8), (0.0,) * prompts)
    started = time.thread_time()
    done = simulate(workload, strategy, budget, gpus=4)
    return done.draws / (time.thread_time() - started)


def engine_per_second(candidates: int, budget: int = 20) -> float:
    """Candidates a second through the engine, with identities, rows, images and log."""
    plan = pretended_plan(BestOfN(), prompts=max(1, candidates // budget), budget=budget)
    executor = PretendedExecutor(dict.fromkeys(Role, 0.0), workers=2)
    with tempfile.TemporaryDirectory() as temporary:
        folder = RunFolder(Path(temporary) / "run")
        started = time.thread_time()
        progress = work(plan, Execution(), folder, command="bench", executor=executor)
        assert progress is not None
        return progress.draws / (time.thread_time() - started)


def open_bytes(searches: int, draws: int = 10) -> int:
    """What so many open searches hold, each after some draws with feedback."""
    workload = Workload({Role.GENERATOR: 1.0}, {Role.GENERATOR: 1}, (0.0,) * searches)
    prompts = workload.prompts
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        held = []
        for prompt in prompts:
            search = Search(Reflect(), prompt, 0, budget=draws + 1, run_seed=0)
            asked = search.start()
            for _ in range(draws):
                asked = search.answer(workload.answer(prompt, 0, asked[0], f"{asked[0].index}"))
            held.append(search)
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


def log_speed(rows: int) -> tuple[float, float]:
    """Rows a second into a log, merging at the end included, and bytes a row."""
    made = [_row(number) for number in range(rows)]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "log"
        log = LogWriter(folder)
        started = time.thread_time()
        for row in made:
            log.append("candidates", row)
        log.compact()
        seconds = time.thread_time() - started
        size = sum(path.stat().st_size for path in folder.iterdir())
    return rows / seconds, size / rows


def _row(number: int) -> dict[str, object]:
    """A row as runs write them: names, digests and times that do not compress to nothing."""
    chance = random.Random(number)
    prompt = Prompt(f"{number // 20:05d}", f"a photo of {number // 20} things", "counting")
    search = Search(BestOfN(), prompt, 0, budget=20, run_seed=0)
    identity, image = f"{chance.getrandbits(128):032x}", f"{chance.getrandbits(128):032x}"
    found = tuple(
        Detection("cat", (chance.random(), 1.0, 64 * chance.random(), 40.0), chance.random(), None)
        for _ in range(3)
    )
    request = Request(identity, prompt.text, chance.getrandbits(63), {})
    known = Known(
        image=image,
        verdict=Verdict(False, chance.random(), "There is no cat in image."),
        score=Score(False, "expected cat>=1, found 0", found),
    )
    for role in Role:
        known.costs[role] = Cost(24, 1e9, chance.random(), 12)
        known.workers[role], known.batches[role] = f"{role}-0", str(number // 8)
    pending = Pending(OpenSearch(search), Draw(number % 20), request, known)
    return candidate_row("0123456789abcdef", pending)
