"""Runs everything in this process, one job at a time: a laptop, a test, a debugger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.engine.deadline import watched
from harness.engine.devices import device_name, memory_held
from harness.engine.executors.base import Executor, Patience
from harness.engine.jobs import BatchResult, Failed, Job
from harness.engine.worker import Setup, Worker
from harness.errors import HarnessError
from harness.records import Role


class InlineExecutor(Executor):
    """All roles in this process. Has state: the models, and the job that is next.

    Args:
        patience: How long a batch may take. A model that hangs here cannot be killed without the
            run, so passing the deadline ends the run; it can be resumed.
    """

    def __init__(
        self, setup: Setup, roles: Sequence[Role], *, patience: Patience | None = None
    ) -> None:
        self._setup = setup
        self._roles = tuple(roles)
        self._patience = patience or Patience()
        self._workers: dict[Role, Worker] = {}
        self._warm: set[Role] = set()
        self._job: Job | None = None

    def start(self) -> None:
        """Load the models, one after the other."""
        for role in self._roles:
            try:
                self._workers[role] = Worker(role, self._setup)
            except HarnessError:
                raise
            except Exception as error:
                raise HarnessError(
                    f"the {role}'s model cannot be loaded: {type(error).__name__}: {error}"
                ) from error

    def free(self, role: Role, *, idle: bool = True) -> int:
        """One if nothing is waiting to run."""
        return int(self._job is None and role in self._workers)

    def submit(self, job: Job) -> None:
        """Remember the job; it runs in `wait`."""
        if self._job is not None:
            raise ValueError("the inline executor takes one job at a time")
        self._job = job

    def wait(self, timeout: float) -> Sequence[BatchResult]:
        """Run the job that was submitted, for as long as its deadline allows."""
        if self._job is None:
            return ()
        job, self._job = self._job, None
        seconds = self._patience.batch if job.role in self._warm else self._patience.first
        hung = HarnessError(
            f"a batch of the {job.role} ran past its deadline of {seconds:g} s; in the driver's "
            "own process nobody can kill it and go on",
            "give batches longer with --deadline, or use --executor ray, which kills a worker "
            "that hangs and tries its batch again; `resume` goes on from the log",
        )
        try:
            with watched(seconds, hung):
                answers = self._workers[job.role].run(job.items)
        except (Exception, SystemExit) as error:  # a plug-in's sys.exit is no reason to end
            if error is hung:
                raise
            return [BatchResult.failed(job, "inline", Failed.of(error))]
        self._warm.add(job.role)
        return [BatchResult(job, "inline", answers=tuple(answers))]

    def describe(self) -> dict[str, Any]:
        """The device everything runs on, if anybody works, and the most memory held so far."""
        device = self._setup.device
        where = {"device": device, "device_name": device_name(device)}
        worker = {"inline": {**where, "memory_bytes": memory_held(device) or None}}
        return {"executor": "inline", "workers": worker if self._roles else {}}

    def close(self) -> None:
        """Drop the models."""
        self._workers.clear()
