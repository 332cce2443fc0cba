"""What an executor promises the engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from harness.engine.jobs import Job, Outcome
from harness.records import Role

QUEUE_DEPTH = 2
"""Jobs a worker may hold: one running, one waiting so that it need not wait for the driver."""


class Executor(Protocol):
    """Runs jobs and reports what became of each, once, in whatever order they end.

    A job that fails, or whose worker dies, is reported as an outcome with an error; a dead
    worker is replaced by the executor. Only what makes going on pointless is raised.
    """

    serial: bool
    """Whether one job runs at a time, so that waiting for a fuller batch costs nothing."""

    def start(self) -> None:
        """Load the models.

        Raises:
            HarnessError: A model cannot be loaded, or the cluster lacks what was asked for.
        """

    def free(self, role: Role, *, idle: bool = True) -> int:
        """How many jobs a role can take now.

        Args:
            role: Which role.
            idle: Count idle workers only; else also places queued behind a running job.
        """

    def submit(self, job: Job) -> None:
        """Hand over a job for a role that is free."""

    def wait(self, timeout: float) -> Sequence[Outcome]:
        """Outcomes since the last call; blocks up to `timeout` seconds for the first.

        Raises:
            HarnessError: Workers of a role keep dying before they can work.
        """

    def describe(self) -> dict[str, Any]:
        """Who works where, for the manifest."""

    def close(self) -> None:
        """Let go of workers and models."""
