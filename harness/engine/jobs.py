"""What passes between the engine and the executors: plain values that travel between machines.

Images travel as PNG: a worker encodes what it made and decodes what it is shown, so the driver
only moves bytes.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, SupportsIndex

from harness.engine.failures import Failed
from harness.errors import Failure
from harness.records import Cost, Prompt, Role, Score, Setting, Verdict


class Png(bytes):
    """An encoded image that travels beside its message instead of inside it.

    A batch of large images is some 16 MB each way. Pickled as plain bytes they are copied again
    and again; this way a round trip through Ray took less than half as long.
    """

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        """Pickle it out of band where the protocol can."""
        if int(protocol) < 5:
            return super().__reduce_ex__(protocol)
        return Png, (pickle.PickleBuffer(self),)


@dataclass(frozen=True, slots=True)
class DrawItem:
    """A draw for the generator.

    Attributes:
        id: The draw's identity.
        text: The prompt.
        noise_seed: Seed of its noise.
        settings: Sampler settings, complete.
        feedback: (draw id, PNG, sentence), in the order the strategy gives.
    """

    id: str
    text: str
    noise_seed: int
    settings: Mapping[str, Setting]
    feedback: tuple[tuple[str, bytes, str], ...] = ()


@dataclass(frozen=True, slots=True)
class LookItem:
    """An image for the judge or the scorer.

    Attributes:
        prompt: What it was made for.
        png: The image.
        seed: For a judge that samples its answer.
    """

    prompt: Prompt
    png: bytes
    seed: int = 0


Item = DrawItem | LookItem


@dataclass(frozen=True, slots=True)
class Made:
    """The generator's answer to one draw: the PNG, the digest of its pixels, the cost."""

    png: bytes
    digest: str
    cost: Cost


@dataclass(frozen=True, slots=True)
class Judged:
    """The judge's answer for one image."""

    verdict: Verdict
    cost: Cost


@dataclass(frozen=True, slots=True)
class Scored:
    """The scorer's answer for one image."""

    score: Score
    cost: Cost


Answer = Made | Judged | Scored


@dataclass(frozen=True, slots=True)
class Job:
    """A batch for one role."""

    id: int
    role: Role
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What became of a job: answers, one an item, or an error, as values.

    Attributes:
        job: The job.
        worker: Which worker had it.
        answers: In the items' order; empty if it failed.
        error: What went wrong, in one line, or None.
        failure: Of which kind that is, or None.
        crashed: Whether the worker died of it (and is being replaced).
    """

    job: Job
    worker: str
    answers: tuple[Answer, ...] = ()
    error: str | None = None
    failure: Failure | None = None
    crashed: bool = False

    @classmethod
    def failed(cls, job: Job, worker: str, failed: Failed, *, crashed: bool = False) -> BatchResult:
        """The outcome of a failed try."""
        return cls(job, worker, error=failed.error, failure=failed.failure, crashed=crashed)
