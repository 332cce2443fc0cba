"""Images on a cluster: they stay where they were made, and the driver holds references.

A generator's actor returns an image's pixels beside its answer, so they stay in its node's object
store, owned by the driver: they outlive the actor, and go when the last reference is dropped.
Judges and scorers get them from there. A few actors beside the run's folder encode and write them,
and read those that a later draw has feedback on. An image that goes down with its node is read
from the folder.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import ObjectLostError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from harness.engine.jobs import BatchResult, Drawn, Failed, Remote
from harness.errors import Failure, HarnessError, first_line
from harness.log.images import ImageStore, decode, encode
from harness.log.location import Location, location
from harness.log.remote import RemotePath
from harness.records import Image

GENERATORS_A_WRITER = 8
"""Encoding 1024 × 1024 pixels takes a core some 50 ms, and a generator makes a few a second."""

THREADS = 4
"""Images that a writer works on at once: zlib and files let go of the interpreter."""

LOST = Failed(Failure.NODE_LOST, "an image of it was lost with its node")


class Writer:
    """The process on the other side: writes images into the run's folder, and reads them."""

    def __init__(self, folder: str) -> None:
        self._store = ImageStore(location(folder))

    def write(self, digest: str, pixels: Image) -> None:
        """Encode an image and store it.

        Raises:
            HarnessError: It cannot be written.
        """
        self._store.write(digest, encode(pixels))

    def read(self, digest: str, check: bool) -> Image:
        """Return a stored image's pixels.

        Raises:
            HarnessError: It is not there, or not what its name says.
        """
        return decode(self._store.read(digest, check=check))


@dataclass
class _Storing:
    """A generator's outcome whose images are being written. Has state: how many are left."""

    outcome: BatchResult
    left: int
    is_lost: bool = False


@dataclass
class Writers:
    """The actors that write and read a run's images. Has state: what they are writing.

    Attributes:
        number: How many actors; they restart by themselves, for all they do can be done again.
    """

    folder: Location
    number: int = 1
    _actors: list[Any] = field(default_factory=list)
    _given: int = 0
    _acknowledged_by: dict[Any, _Storing] = field(default_factory=dict)

    def start(self) -> None:
        """Create the actors: on the driver's node for a folder of its machine, else anywhere."""
        strategy: Any = "SPREAD"
        if not isinstance(self.folder, RemotePath):
            node = ray.get_runtime_context().get_node_id()
            strategy = NodeAffinitySchedulingStrategy(node, soft=False)
        options = dict(num_cpus=0, max_concurrency=THREADS, max_restarts=-1, max_task_retries=-1)
        actor_class = ray.remote(Writer).options(**options, scheduling_strategy=strategy)
        self._actors = [actor_class.remote(str(self.folder)) for _ in range(self.number)]

    @property
    def awaited(self) -> list[Any]:
        """References that are ready once an image is written."""
        return list(self._acknowledged_by)

    @property
    def batches(self) -> int:
        """Batches whose images are being written."""
        return len({id(storing) for storing in self._acknowledged_by.values()})

    def store(self, outcome: BatchResult) -> None:
        """Write the images of a generator's batch; `acknowledge` gives the batch back."""
        storing = _Storing(outcome, len(outcome.answers))
        for answer in outcome.answers:
            assert isinstance(answer, Drawn) and isinstance(answer.png, Remote)
            ack = self._next().write.remote(answer.digest, answer.png.reference)
            self._acknowledged_by[ack] = storing

    def acknowledge(self, reference: Any) -> BatchResult | None:
        """Take notice that an image is written; return its batch if that was the last.

        Raises:
            HarnessError: It cannot be written.
        """
        storing = self._acknowledged_by.pop(reference)
        storing.left -= 1
        try:
            ray.get(reference)
        except RayError as error:
            if not is_lost_image(error):
                raise harness_error(error) from error
            storing.is_lost = True
        if storing.left:
            return None
        outcome = storing.outcome
        return BatchResult.failed(outcome.job, outcome.worker, LOST) if storing.is_lost else outcome

    def write(self, digest: str, image: Remote) -> None:
        """Store one image, and wait for it.

        Raises:
            HarnessError: It cannot be written, or is gone.
        """
        try:
            ray.get(self._next().write.remote(digest, image.reference))
        except RayError as error:
            raise harness_error(error) from error

    def read(self, digest: str, *, check: bool = False) -> Remote:
        """Return a reference to a stored image, whose pixels are held to the digest if asked for.

        That it cannot be read shows where it is used.
        """
        return Remote(self._next().read.remote(digest, check))

    def close(self) -> None:
        """End the actors."""
        for actor in self._actors:
            ray.kill(actor)
        self._actors.clear()
        self._acknowledged_by.clear()

    def _next(self) -> Any:
        self._given += 1
        return self._actors[self._given % len(self._actors)]


def is_lost_image(error: RayError) -> bool:
    """Return whether a task failed since an image that it was given is gone."""
    return isinstance(error, ObjectLostError) or isinstance(
        getattr(error, "cause", None), ObjectLostError
    )


def harness_error(error: RayError) -> HarnessError:
    """Return what a writer raised, or a sentence about how it was lost."""
    cause = error.cause if isinstance(error, RayTaskError) else None
    if isinstance(cause, HarnessError):
        return cause
    return HarnessError(f"an image cannot be written: {first_line(error)}")
