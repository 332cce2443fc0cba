"""Values that pass between the engine and the executors: plain values that travel between machines.

The engine never looks into an image. In one process it is a PNG, which a worker encodes and another
decodes; on a cluster it is a reference to pixels that stay where they were made.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, SupportsIndex

from harness.errors import BadAnswer, Failure
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


@dataclass(eq=False, slots=True)
class Remote:
    """An image on a cluster. Has state: whether it is known to be gone.

    Attributes:
        reference: Ray's reference to its pixels; when the last one is dropped they are.
        is_lost: Whether it went down with its node.
    """

    reference: Any
    is_lost: bool = False


Pixels = Png | Remote
"""An image as the engine holds it."""

Item = Request[Any] | Look[Any] | Inquiry[Any]
"""A draw for the generator, an image for those who look at it, a question to the judge."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """The generator's answer to one draw.

    Attributes:
        png: The image, of `Pixels`; a worker in this process makes a `Png`.
        state: Where the draw stopped, if it has a stop.
    """

    png: Any
    digest: str
    cost: Cost
    state: Png | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """What is said of one image, or to one question, and its cost.

    Attributes:
        value: The judge's verdict, the scorer's score, the metrics by name, or the judge's reply.
    """

    value: Verdict | Score | dict[str, float] | str
    cost: Cost


Answer = Drawn | Response


@dataclass(frozen=True, slots=True)
class Job:
    """A batch for one role."""

    id: int
    role: Role
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """A failed try, its error one line; it travels where the exception's class may be unknown."""

    failure: Failure
    error: str

    @classmethod
    def of(cls, error: BaseException) -> Failed:
        """Return the failure that an exception amounts to."""
        if isinstance(error, BadAnswer):
            return cls(error.failure, error.message)
        # torch's own class is told by its name: this module is to do without torch.
        memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
        kind = Failure.OUT_OF_MEMORY if memory else Failure.EXCEPTION
        return cls(kind, f"{type(error).__name__}: {error}")


@dataclass(frozen=True, slots=True)
class BatchResult:
    """The result of a job: answers, one an item, or an error, as values.

    Attributes:
        answers: In the items' order; empty if it failed.
        error: What went wrong, in one line, or None.
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


def by_role(counts: Iterable[tuple[tuple[Role, Failure], int]]) -> dict[str, dict[str, int]]:
    """Counts of failures as the manifest has them: by role, by kind, without zeros."""
    counts_by_role: dict[str, dict[str, int]] = {}
    for (role, failure), count in sorted(counts):
        if count:
            counts_by_role.setdefault(str(role), {})[str(failure)] = count
    return counts_by_role


def without_pixels(items: Sequence[Item]) -> tuple[tuple[Any, ...], list[Pixels]]:
    """Return items without their images, and these, item by item."""
    pixels: list[Pixels] = []

    def take(image: Pixels) -> Png:
        pixels.append(image)
        return Png()

    return tuple(_with_images(item, take) for item in items), pixels


def with_pixels(items: Sequence[Any], pixels: Sequence[Any]) -> tuple[Any, ...]:
    """Return items of `without_pixels` with their images again, which are in its order."""
    rest = iter(pixels)
    return tuple(_with_images(item, lambda _: next(rest)) for item in items)


def _with_images(item: Any, other: Callable[[Any], Any]) -> Any:
    """Return an item, and whatever it starts from, with another image in each one's place."""
    match item:
        case Request(images=images, start=start):
            first = {name: other(image) for name, image in images.items()}
            begun = _with_images(start, other) if start is not None else None
            return replace(item, images=first, start=begun)
        case Inquiry(images=images):
            return replace(item, images=tuple(map(other, images)))
    return replace(item, image=other(item.image))


def feedback_of(job: Job) -> list[str]:
    """Return the ids of the draws that a job's feedback is about."""
    draws = (item for item in job.items if isinstance(item, Request))
    return [item.draw_id for request in draws for item in request.feedback]
