"""Writing files so that a crash leaves the old file or the new one, never half of one.

A temporary file in the same folder, flushed to the disk, then renamed: the rename is atomic on
POSIX file systems. The folder is flushed too, so that the new name survives a power cut. That
costs a few milliseconds a file, which is why rows are written in shards and not one by one.
"""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from harness.errors import HarnessError
from harness.log.location import Location, local
from harness.log.remote import RemotePath

TEMPORARY = ".tmp-"
"""Prefix of files that are being written; leftovers of a crash carry it and mean nothing."""


def write_atomically(
    path: Location, data: bytes, *, durable: bool = True, room: Location | None = None
) -> None:
    """Write a whole file or nothing.

    Args:
        path: The final name; replaced if it exists.
        data: The file's content.
        durable: Whether to wait until the disk has it.
        room: The folder for the temporary file, on the same disk; by default the file's own.

    Raises:
        HarnessError: The disk is full, the folder is read-only, or the write failed otherwise.
    """
    if isinstance(path, RemotePath):
        path.write_bytes(data)
        return
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=TEMPORARY, dir=local(room or path.parent))
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        if durable:
            _flush_folder(path.parent)
    except OSError as error:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)
        raise explain(error, path) from error


def is_leftover(path: Location) -> bool:
    """Whether a file is what a crash left of a write, by its name."""
    return path.name.startswith(TEMPORARY)


def remove_leftovers(*folders: Location) -> None:
    """Remove what a crash left directly in some folders; only for who writes there alone.

    Raises:
        HarnessError: One cannot be removed.
    """
    for folder in folders:
        if isinstance(folder, RemotePath):
            continue  # an upload that broke off left nothing
        for path in folder.glob(f"{TEMPORARY}*"):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise explain(error, path) from error


def make_folder(path: Location) -> None:
    """Make a folder and its parents; an object store has none and needs none.

    Raises:
        HarnessError: It cannot be made.
    """
    if isinstance(path, RemotePath):
        return
    try:
        local(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain(error, path) from error


def move(path: Location, folder: Location) -> None:
    """Move a file into a folder, which must be of the same store.

    Raises:
        HarnessError: It cannot be moved.
    """
    try:
        if isinstance(path, RemotePath) and isinstance(folder, RemotePath):
            path.rename(folder / path.name)
        else:
            local(path).rename(local(folder) / path.name)
    except OSError as error:
        raise explain(error, folder) from error


def explain(error: OSError, path: Location) -> HarnessError:
    """Turn an OSError into one sentence and a hint."""
    hints = {
        errno.ENOSPC: "free some space; what was written before is intact",
        errno.EDQUOT: "free some space; what was written before is intact",
        errno.EACCES: "choose a folder you may write to with --out",
        errno.EPERM: "choose a folder you may write to with --out",
        errno.EROFS: "choose a folder you may write to with --out",
        errno.ENOTDIR: "a file stands where a folder is needed; choose another --out",
        errno.EEXIST: "a file stands where a folder is needed; choose another --out",
    }
    reason = error.strerror or type(error).__name__
    return HarnessError(f"cannot write {path}: {reason}", hints.get(error.errno or 0, ""))


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
