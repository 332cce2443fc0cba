"""Values that pass between the engine and the executors: plain values that travel between machines.

Images travel as PNG: a worker encodes what it made and decodes what it is shown, so the driver
only moves bytes.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import Any, SupportsIndex

from harness.engine.failures import Failed
from harness.errors import Failure
from harness.records import Cost, Inquiry, Look, Request, Role, Score, Verdict


class Png(bytes):
    """An encoded image, or a state, that travels beside its message instead of inside it.

    A batch of large images is some 16 MB each way. Pickled as plain bytes they are copied again
    and again; this way a round trip through Ray took less than half as long.
    """

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        """Pickle it out of band where the protocol can."""
        if int(protocol) < 5:
            return super().__reduce_ex__(protocol)
        return Png, (pickle.PickleBuffer(self),)


Item = Request[Png] | Look[Png] | Inquiry[Png]
"""A draw for the generator, an image for those who look at it, a question to the judge."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """The generator's answer to one draw.

    Attributes:
        png: The image, encoded.
        digest: Digest of its pixels.
        cost: What it took.
        state: Where the draw stopped, if it has a stop.
    """

    png: Png
    digest: str
    cost: Cost
    state: Png | None = None


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


@dataclass(frozen=True, slots=True)
class Measured:
    """The metrics' answers for one image, by name, and what they cost together."""

    metrics: dict[str, float]
    cost: Cost


@dataclass(frozen=True, slots=True)
class Replied:
    """The judge's answer to one question."""

    text: str
    cost: Cost


Answer = Drawn | Judged | Scored | Measured | Replied


@dataclass(frozen=True, slots=True)
class Job:
    """A batch for one role."""

    id: int
    role: Role
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class BatchResult:
    """The result of a job: answers, one an item, or an error, as values.

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
