"""One actor: the process on the other side, and its place as the executor keeps it."""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import ray
from cachetools import LRUCache
from ray.exceptions import RayError

from harness.engine.devices import device_name, memory_held
from harness.engine.executors.base import Patience
from harness.engine.jobs import (
    Drawn,
    Failed,
    Item,
    Job,
    Remote,
    feedback_of,
    with_pixels,
    without_pixels,
)
from harness.engine.worker import Setup, Worker
from harness.records import Role

REMEMBERED = 512
"""Images that a generator has encoded, as far as work is given out by it."""


class Actor:
    """The process on the other side. Loads in a method, so that its errors are ordinary ones."""

    def __init__(self, role: Role, setup: Setup, by_reference: bool = False) -> None:
        self._role = role
        self._setup = setup
        self._by_reference = by_reference
        self.worker: Worker | None = None

    def place(self) -> str:
        """Answers as soon as the actor has a place, with the node it is on."""
        return str(ray.get_runtime_context().get_node_id())

    def load(self) -> dict[str, Any]:
        """Load the model; says where this actor is."""
        self.worker = Worker(self._role, self._setup)
        context = ray.get_runtime_context()
        return {
            "pid": os.getpid(),
            "node": context.get_node_id(),
            "gpus": context.get_accelerator_ids().get("GPU", []),
            "cuda_visible_devices": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
            "device": self._setup.device,
            "device_name": device_name(self._setup.device),
        }

    def run(self, items: Sequence[Item], *pixels: Any) -> Any:
        """Run one batch. A failure is told apart here, where its class is known.

        Returns:
            The answers with the most memory held so far, or a failure; where images go by
            reference, new ones' pixels follow it, as many values as there are items.
        """
        assert self.worker is not None
        draws = self._by_reference and self._role is Role.GENERATOR
        try:
            answers = self.worker.run(with_pixels(items, pixels), encode=not draws)
        except Exception as error:
            failed = Failed.of(error)
            return (failed, *(None for _ in items)) if draws else failed
        memory = memory_held(self._setup.device)
        if not draws:
            return answers, memory
        bare = [replace(answer, png=b"") for answer in answers if isinstance(answer, Drawn)]
        return ((bare, memory), *(answer.png for answer in answers if isinstance(answer, Drawn)))


@dataclass
class Slot:
    """One actor's place. When the actor dies, its successor takes the place over.

    Has state. An actor waits for a place in the cluster (`placing`), then loads (`loading`), then
    runs its `jobs`, the first of which is the one that is running.
    """

    name: str
    role: Role
    actor: Any = None
    placing: Any = None
    loading: Any = None
    jobs: deque[tuple[Job, Any, list[Any]]] = field(default_factory=deque)
    """Each with the reference to its answer, and those to the images that it makes."""
    by_reference: bool = False
    seen: LRUCache[str, bool] = field(default_factory=lambda: LRUCache(REMEMBERED))
    """Draws whose images it was given as feedback: it has them encoded."""
    since: float = 0.0
    """When it began what it is doing, on the monotonic clock."""
    warm: bool = False
    """True once it has done a batch."""
    load_failures: int = 0
    given: int = 0
    node: str = ""
    where: dict[str, Any] = field(default_factory=dict)
    memory: int = 0
    """The most bytes that an actor in this place has held."""

    @property
    def ready(self) -> bool:
        """True if it can be given jobs."""
        return self.loading is None

    @property
    def is_loading(self) -> bool:
        """True while it has its place, but not its model yet."""
        return self.placing is None and self.loading is not None

    @property
    def awaited(self) -> list[Any]:
        """The references that it may answer next."""
        refs = [self.placing, self.loading, *(ref for _, ref, _ in self.jobs)]
        return [ref for ref in refs if ref is not None]

    def fill(self, setup: Setup, *, cpus: float, gpus: float) -> None:
        """Put a new actor in and have it load."""
        # Ray needs its own decorator; the class itself stays plain so that it can be typed.
        actor_class = ray.remote(Actor).options(
            num_cpus=cpus,
            num_gpus=gpus,
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy="SPREAD",
        )
        self.actor = actor_class.remote(self.role, setup, self.by_reference)
        self.placing = self.actor.place.remote()
        self.loading = self.actor.load.remote()
        self.warm, self.node = False, ""
        self.seen.clear()

    def empty(self) -> list[Job]:
        """Kill the actor, whatever is left of it; returns the jobs it still had."""
        left = [job for job, _, _ in self.jobs]
        self.jobs.clear()
        if self.actor is not None:
            # One that hangs or cannot be reached would hold its GPU for as long as it lives.
            with contextlib.suppress(RayError):
                ray.kill(self.actor)
        self.actor = self.placing = self.loading = None
        return left

    def give(self, job: Job) -> None:
        """Queue a job."""
        if not self.jobs:
            self.since = time.monotonic()
        self.given += 1
        self.seen.update(dict.fromkeys(feedback_of(job), True))
        items, pixels = without_pixels(job.items)
        # As arguments of their own, so that Ray brings them to the actor's node before it is due.
        given = [each.reference if isinstance(each, Remote) else each for each in pixels]
        run = self.actor.run
        if self.by_reference and self.role is Role.GENERATOR:
            run = run.options(num_returns=1 + len(items))
            answer, *made = run.remote(items, *given)
        else:
            answer, made = run.remote(items, *given), []
        self.jobs.append((job, answer, made))

    def take(self) -> tuple[Job, Any, list[Any]]:
        """The job that was running, its answer's and its images' references; the next runs now."""
        self.since = time.monotonic()
        return self.jobs.popleft()

    def has_seen(self, job: Job) -> int:
        """Return how many of the images that a job's feedback is about it has encoded."""
        return sum(draw_id in self.seen for draw_id in feedback_of(job))

    def overdue(self, patience: Patience) -> float | None:
        """The limit in seconds that it has passed, or None."""
        if self.placing is not None:
            return None  # for a place it waits as long as others of its role live
        if self.loading is not None:
            limit = patience.load
        elif self.jobs:
            limit = patience.batch if self.warm else patience.first
        else:
            return None
        return limit if time.monotonic() - self.since > limit else None
