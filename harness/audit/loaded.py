"""Models that an audit has loaded, kept for the next check and the next run of the same ones."""

from __future__ import annotations

from harness.engine.worker import Setup, Worker, prepare_process
from harness.records import Role


class Loaded:
    """The last model of each role. Has state: these models."""

    def __init__(self) -> None:
        self._workers: dict[Role, tuple[object, Worker]] = {}

    def worker(self, role: Role, setup: Setup) -> Worker:
        """Return a worker of a role; it is loaded unless the last one was of the same model.

        Raises:
            HarnessError: A checkpoint is missing or wrong.
        """
        config = setup.config
        digests = {k: v for k, v in config.digests.items() if k.startswith(f"{role}.")}
        spec = getattr(config, role.value)
        same = (spec, digests, config.benchmark, config.threads, setup.device)
        known, worker = self._workers.get(role, (None, None))
        if worker is None or known != same:
            self._workers.pop(role, None)  # its memory may be needed
            worker = Worker(role, setup)
            self._workers[role] = same, worker
        prepare_process(setup)  # another run's threads may have been set since
        return worker
