"""One driver a run folder: the second is refused."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from harness.errors import HarnessError
from harness.log.files import explain
from harness.log.lease import lease
from harness.log.location import Location
from harness.log.remote import RemotePath


@contextmanager
def exclusive(folder: Location) -> Iterator[None]:
    """Hold a run folder for this process. The system lets go when the process dies.

    In an object store no system does; `harness.log.lease` says what holds there.

    Raises:
        HarnessError: Another process holds it.
    """
    if isinstance(folder, RemotePath):
        with lease(folder):
            yield
        return
    path = folder / ".lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise explain(error, path) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 64, 0).decode(errors="replace").strip()
            raise HarnessError(
                f"another process{f' ({holder})' if holder else ''} is writing to {folder}",
                "wait until it ends, or choose another folder with --out",
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"pid {os.getpid()}".encode(), 0)
        yield
    finally:
        os.close(descriptor)
