"""The promises of an executor to the engine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from harness.engine.jobs import BatchResult, Job, Remote
from harness.records import Role

QUEUE_DEPTH = 2
"""Jobs a worker may hold: one running, one waiting so that it need not wait for the driver."""


FIRST_BATCH_FACTOR = 3
"""A worker's first batch may take so many times as long: kernels are compiled or chosen in it."""

LOAD_SECONDS = 1800.0
"""Time to load a model from storage that may be far away and busy."""

PLACE_SECONDS = 300.0
"""Time that a role may be without any worker that has a place: a cluster may be adding nodes."""


@dataclass(frozen=True)
class Patience:
    """Seconds for which workers are waited for; infinity is for ever.

    Attributes:
        load: For a worker to load its model (Ray only).
        place: For the first worker of a role to get a place in the cluster (Ray only).
    """

    batch: float = math.inf
    first: float = math.inf
    load: float = math.inf
    place: float = PLACE_SECONDS

    @classmethod
    def of(cls, deadline: float) -> Patience:
        """The patience that a deadline of so many seconds for a batch stands for; 0 is none."""
        if not deadline:
            return cls()
        first = FIRST_BATCH_FACTOR * deadline
        return cls(deadline, first, max(LOAD_SECONDS, first))


class Executor(Protocol):
    """Runs jobs and reports what became of each, once, in whatever order they end.

    A job that fails, or whose worker dies or runs past its deadline, is reported as an outcome
    with an error; a dead worker is replaced by the executor. Only what makes going on pointless is
    raised. Images travel through the driver unless an executor knows better.
    """

    def start(self) -> None:
        """Load the models.

        Raises:
            HarnessError: A model cannot be loaded, or the cluster lacks what was asked for.
        """

    def free(self, role: Role, *, idle: bool = True) -> int:
        """Return how many jobs a role can take: idle workers only, or places in queues too."""

    def submit(self, job: Job) -> None:
        """Hand over a job for a role that is free."""

    def wait(self, timeout: float) -> Sequence[BatchResult]:
        """Outcomes since the last call; blocks up to `timeout` seconds for the first.

        Raises:
            HarnessError: No worker of a role is left and none can be had, or a batch ran past its
                deadline where nobody can kill it.
        """

    def image(self, digest: str, *, check: bool) -> Remote | None:
        """Return a reference to a stored image; None where images travel through the driver.

        If it is to be checked, its pixels are held to the digest before anybody works on them.
        """
        return None

    def write(self, digest: str, image: Remote) -> None:
        """Store an image that it made once more, where images do not travel.

        Raises:
            HarnessError: It cannot be written.
        """
        raise TypeError("nobody has handed out a reference to an image")

    def describe(self) -> dict[str, Any]:
        """Describe who works where, for the manifest, and the `deaths` so far, by role and kind."""

    def close(self) -> None:
        """Let go of workers and models."""
