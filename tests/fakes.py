"""A run without models: what the driver does beside them, and nothing else.

The executor keeps the real one's promises (places, queues, outcomes in time), each batch taking
a fixed time in which nothing is computed. So what is measured is searches, dispatcher, identities,
rows, log and image store: all that stands between a generator and the next batch.
"""

from __future__ import annotations

import hashlib
import heapq
import struct
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from harness.config import Plugin, RunConfig
from harness.engine.executors.base import QUEUE_DEPTH, Executor
from harness.engine.jobs import (
    Answer,
    BatchResult,
    Drawn,
    Item,
    Job,
    Png,
    Response,
)
from harness.log import images
from harness.models.suites import ModelSpec
from harness.options import resolved
from harness.plan import Plan
from harness.records import Cost, Detection, Image, Prompt, Request, Role, Score, Verdict
from harness.seeds import digest, pixel_digest
from strategies.base import Strategy

_END = 12  # bytes of the chunk that ends a PNG

IMAGE_BYTES = 20_000
"""Size of a pretended image: small enough to be cheap, large enough to show where it is kept."""


def fake_plan(
    strategy: Strategy,
    *,
    prompts: int,
    budget: int,
    batch_size: int = 8,
    keep: Literal["all", "selected", "none"] = "none",
) -> Plan:
    """A plan over made-up prompts that no model is needed for."""
    spec = ModelSpec(kind="sana", batch_size=batch_size, dtype="float32")
    config = RunConfig(
        benchmark=Plugin(name="pretended", options={"prompts": prompts}),
        strategy=Plugin(name=strategy.name, options=resolved(strategy)),
        budget=budget,
        suite="pretended",
        generator=spec,
        judge=spec.model_copy(update={"kind": "pretended"}),
        scorer=spec,
        keep_images=keep,
    )
    made_up = tuple(
        Prompt(f"{n:06d}", f"a photo of {n} things", f"tag {n % 6}") for n in range(prompts)
    )
    return Plan(config, made_up, strategy, {})


def fake_png(name: str) -> Png:
    """A valid PNG of its own for every name: a small picture, and a chunk that viewers skip."""
    filler = b"fiLl" + name.encode() * (IMAGE_BYTES // len(name))
    chunk = struct.pack(">I", len(filler) - 4) + filler + struct.pack(">I", zlib.crc32(filler))
    plain = images.encode(_pixels(name))
    return Png(plain[:-_END] + chunk + plain[-_END:])


def _pixels(name: str) -> Image:
    drawn = hashlib.shake_128(name.encode()).digest(8 * 8 * 3)
    return np.frombuffer(drawn, np.uint8).reshape(8, 8, 3)


@dataclass
class FakeExecutor(Executor):
    """Answers every batch after a fixed time. Has state: what it holds.

    Every draw has image bytes of its own, some 20 KB, as a real one's are: were they shared,
    memory would not show who keeps them.

    Attributes:
        seconds: What a batch takes, by role.
        workers: Workers of each role.
        accept: One draw in so many is accepted.
    """

    seconds: Mapping[Role, float]
    workers: int = 1
    accept: int = 6
    _ends: list[tuple[float, int, int, Job]] = field(default_factory=list)
    _held: dict[Role, list[int]] = field(default_factory=dict)
    _busy_until: dict[Role, list[float]] = field(default_factory=dict)

    def start(self) -> None:
        """Load nothing."""
        self._held = {role: [0] * self.workers for role in Role}
        self._busy_until = {role: [0.0] * self.workers for role in Role}
        self._ends.clear()

    def free(self, role: Role, *, idle: bool = True) -> int:
        """As a real executor's."""
        depth = 1 if idle else QUEUE_DEPTH
        return sum(max(0, depth - held) for held in self._held[role])

    def submit(self, job: Job) -> None:
        """Give it to the least busy worker."""
        held, until = self._held[job.role], self._busy_until[job.role]
        worker = min(range(self.workers), key=lambda n: held[n])
        held[worker] += 1
        until[worker] = max(time.monotonic(), until[worker]) + self.seconds[job.role]
        heapq.heappush(self._ends, (until[worker], job.id, worker, job))

    def wait(self, timeout: float) -> Sequence[BatchResult]:
        """Sleep until a batch ends; all that have ended by then."""
        if not self._ends:
            return ()
        pause = self._ends[0][0] - time.monotonic()
        if pause > 0:
            time.sleep(min(pause, timeout))
        now, ended = time.monotonic(), []
        while self._ends and self._ends[0][0] <= now:
            _, _, worker, job = heapq.heappop(self._ends)
            self._held[job.role][worker] -= 1
            seconds = self.seconds[job.role] / len(job.items)  # an equal share, as workers say it
            answers = tuple(self._answer(job.role, item, seconds) for item in job.items)
            ended.append(BatchResult(job, f"{job.role}-{worker}", answers=answers))
        return ended

    def describe(self) -> dict[str, Any]:
        """Nobody anywhere."""
        return {"executor": "pretended", "workers": {}}

    def close(self) -> None:
        """Let go of nothing."""

    def _answer(self, role: Role, item: Item, seconds: float) -> Answer:
        cost = Cost(nfe=24, flops=1e9, device_seconds=seconds, tokens=12)
        if isinstance(item, Request):
            name = digest(["image", item.id])[:32]
            return Drawn(fake_png(name), pixel_digest(_pixels(name)), cost)
        if role is Role.JUDGE:
            accepted = item.seed % self.accept == 0
            sentence = "" if accepted else f"There is no thing in image {item.seed % 997}."
            return Response(Verdict(accepted, item.seed % 1000 / 1000, sentence), cost)
        box = (1.0, 2.0, 30.0, 40.0)
        result = tuple(Detection(label, box, 0.75, "red") for label in ("cat", "dog", "bench"))
        return Response(Score.of(False, "expected thing>=1, found 0", result), cost)
