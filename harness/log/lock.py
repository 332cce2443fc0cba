"""One driver a run folder: the second is refused."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import HarnessError
from harness.log.files import check_entries, explain, explained
from harness.log.lease import lease
from harness.log.location import Location
from harness.log.remote import RemotePath

_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


@contextmanager
def exclusive(folder: Location) -> Iterator[None]:
    """Hold a run folder for this process. The system lets go when the process dies.

    In an object store no system does; `harness.log.lease` says what holds there.

    Raises:
        HarnessError: Another process holds it, the file system has no locks, or the folder holds
            what is no file of a run.
    """
    if isinstance(folder, RemotePath):
        with lease(folder):
            yield
        return
    check_entries(folder)
    path = folder / ".lock"
    while True:
        descriptor = _open(path)
        try:
            _lock(descriptor, path)
            if not _is_at(descriptor, path):
                continue  # removed by another hand before it was locked: it keeps nobody out
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"pid {os.getpid()}".encode(), 0)
            yield
            return
        finally:
            os.close(descriptor)


def is_held(folder: Location) -> bool:
    """Return whether another process works on a local run at this moment.

    Of a run in an object store it is not known without writing there, so it is False.
    """
    if isinstance(folder, RemotePath):
        return False
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(folder / ".lock", flags)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def _open(path: Path) -> int:
    """Open a lock file, made if need be, and nothing that is another file under its name."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with explained(path):
        descriptor = os.open(path, flags, 0o666)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        os.close(descriptor)
        raise HarnessError(
            f"{path} is no lock of a run but another file's name", "remove it from the folder"
        )
    return descriptor


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(descriptor, 64, 0).decode(errors="replace").strip()
        raise HarnessError(
            f"another process{f' ({holder})' if holder else ''} is writing to {path.parent}",
            "wait until it ends, or choose another folder with --out",
        ) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise explain(error, path) from error
        raise HarnessError(
            f"{path.parent} lies on a file system without locks, so a second driver could not be "
            "kept out",
            "choose a folder on a local disk with --out, or mount the file system with locks",
        ) from error


def _is_at(descriptor: int, path: Path) -> bool:
    """Return whether a path still names the file that is open."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False
