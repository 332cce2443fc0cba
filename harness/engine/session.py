"""One session of work on a run, as the manifest tells of it: who worked where, what went wrong.

Counts of failures live here and not in the log: the log's content is the same whatever went wrong
on the way.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping
from typing import Any

from harness.engine.executors.base import Executor
from harness.engine.jobs import by_role
from harness.engine.progress import Progress
from harness.errors import HarnessError, Interrupted
from harness.log.environment import packages
from harness.log.location import Location
from harness.log.manifest import Manifest, now

WRITE_SECONDS = 10.0
"""Time between writes of new failures while the run goes on: so much is lost to a SIGKILL."""


class Session:
    """Keeps the manifest's entry of one session up to date. Has state: that entry."""

    def __init__(
        self,
        manifest: Manifest,
        path: Location,
        executor: Executor,
        *,
        command: str,
        notes: Mapping[str, Any],
    ) -> None:
        self._path = path
        self._executor = executor
        self._before = manifest
        self._entry: dict[str, Any] = {
            "started": now(manifest.latest),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "command": command,
            "packages": packages(),
            **executor.describe(),
            **notes,
        }
        self._begun = time.monotonic()
        self._written_failures = 0
        self._written = time.monotonic()
        self.manifest.write(path)

    @property
    def manifest(self) -> Manifest:
        """The manifest with this session in it."""
        return self._before.with_session(self._entry)

    def observe(self, progress: Progress) -> None:
        """Write the counts now and then, if there are new failures. Call it often; it is cheap.

        Raises:
            HarnessError: They cannot be written.
        """
        if progress.failures.total() == self._written_failures:
            return
        if time.monotonic() - self._written >= WRITE_SECONDS:
            self._count(progress)
            self.manifest.write(self._path)
            self._written_failures = progress.failures.total()
            self._written = time.monotonic()

    def end(self, progress: Progress, error: BaseException | None = None) -> Manifest:
        """Close the entry; returns the manifest, written already if the session did not succeed."""
        self._count(progress)
        elapsed = time.monotonic() - self._begun
        ended = now(self._entry["started"], elapsed=elapsed)
        self._entry |= {"ended": ended, "outcome": _outcome(error)}
        manifest = self.manifest
        if error is not None:
            with contextlib.suppress(HarnessError):  # the error at hand says more
                manifest.write(self._path)
        return manifest

    def _count(self, progress: Progress) -> None:
        self._entry |= {
            **self._executor.describe(),
            "draws": progress.draws,
            "draws_failed": progress.draws_failed,
            "reused": dict(progress.reused),
            "failures": by_role(progress.failures.items()),
            "retried": progress.retried,
        }


def _outcome(error: BaseException | None) -> str:
    if error is None:
        return "finished"
    if isinstance(error, Interrupted | KeyboardInterrupt):
        return "stopped"
    return error.message if isinstance(error, HarnessError) else type(error).__name__
