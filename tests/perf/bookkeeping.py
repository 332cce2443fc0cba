"""What the driver keeps beside the models: an open search, a row of the log."""

from __future__ import annotations

import random
import tracemalloc

from harness.engine.pending import OpenSearch, PendingDraw
from harness.engine.rows import candidate_row
from harness.engine.searches import Search
from harness.engine.sources import Known
from harness.records import Cost, Detection, Draw, Prompt, Request, Role, Score, Verdict
from harness.simulate.workload import Workload
from strategies.best_of_n import BestOfN
from strategies.reflect import Reflect


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
                asked = search.answer(workload.answer(search, asked[0], f"{asked[0].index}"))
            held.append(search)
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


def log_row(number: int) -> dict[str, object]:
    """A row as runs write them: names, digests and times that do not compress to nothing."""
    chance = random.Random(number)
    prompt = Prompt(f"{number // 20:05d}", f"a photo of {number // 20} things", "counting")
    search = Search(BestOfN(), prompt, 0, budget=20, run_seed=0)
    identity, image = f"{chance.getrandbits(128):032x}", f"{chance.getrandbits(128):032x}"
    detections = tuple(
        Detection("cat", (chance.random(), 1.0, 64 * chance.random(), 40.0), chance.random(), None)
        for _ in range(3)
    )
    request = Request(identity, prompt.text, ((chance.getrandbits(63), 1.0),), {})
    known = Known(
        image=image,
        verdict=Verdict(False, chance.random(), "There is no cat in image."),
        score=Score.of(False, "expected cat>=1, found 0", detections),
    )
    for role in Role:
        known.costs[role] = Cost(24, 1e9, chance.random(), 12)
        known.workers[role], known.batches[role] = f"{role}-0", str(number // 8)
    pending = PendingDraw(OpenSearch(search), Draw(number % 20), request, known=known)
    return candidate_row("0123456789abcdef", pending)
