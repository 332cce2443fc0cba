"""Files of a run's folder: written whole or not at all, and read as a stranger's.

A temporary file in the same folder, flushed to the disk, then renamed: the rename is atomic on
POSIX file systems. The folder is flushed too, so that the new name survives a power cut. That
costs a few milliseconds a file, which is why rows are written in shards and not one by one.

A folder may come from anybody. A link in it could send a reader to another's files and a writer
over them, a pipe could make either wait for ever; so there is one way to open a file, and one look
through the folder before anything else is done with it.

What cannot be made, written, moved or removed is a `HarnessError` with a hint (`explain`).
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from harness.errors import HarnessError
from harness.log.location import Location, local
from harness.log.remote import RemotePath

TEMPORARY = ".tmp-"
"""Prefix of files that are being written; leftovers of a crash carry it and mean nothing."""


def write_atomically(
    path: Location, data: bytes, *, durable: bool = True, room: Location | None = None
) -> None:
    """Write a whole file or nothing, as `atomic_file` does, or an object of a store."""
    if isinstance(path, RemotePath):
        path.write_bytes(data)
        return
    with atomic_file(path, durable=durable, room=room) as file:
        file.write(data)


@contextmanager
def atomic_file(
    path: Path, *, durable: bool = True, room: Location | None = None
) -> Iterator[BinaryIO]:
    """Open a file that gets its name once it is whole, and is gone if the writing fails.

    Args:
        path: The final name; replaced if it exists.
        durable: Whether to wait until the disk has it.
        room: The folder for the temporary file, on the same disk; by default the file's own.
    """
    temporary = local(room or path.parent) / f"{TEMPORARY}{secrets.token_hex(8)}"
    with explained(path):
        try:
            # The mode is the system's to cut down: whoever set a umask meant it.
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            with os.fdopen(descriptor, "wb") as file:
                yield file
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(temporary, path)
            if durable:
                _flush_folder(path.parent)
        except (Exception, KeyboardInterrupt):  # a kill leaves a leftover
            temporary.unlink(missing_ok=True)
            raise


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Make a folder that gets its name once all of it is written, and is gone if that fails.

    Args:
        path: The final name; one that exists must be an empty folder, and stays the same one.
    """
    is_there = path.is_dir()
    temporary = (path if is_there else path.parent) / f"{TEMPORARY}{secrets.token_hex(8)}"
    with explained(path):
        try:
            temporary.mkdir(parents=True)
            yield temporary
            if is_there:
                for entry in list(temporary.iterdir()):
                    entry.rename(path / entry.name)
                temporary.rmdir()
            else:
                temporary.rename(path)
        except (Exception, KeyboardInterrupt):
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def read_file(path: Location, largest: int) -> bytes:
    """Read a regular file without following a link and without waiting for anybody.

    Args:
        path: The file; in an object store there are no links.
        largest: Bytes that it may have.

    Raises:
        FileNotFoundError: There is none.
        OSError: It cannot be read, is a link or no regular file, or is too large.
    """
    if isinstance(path, RemotePath):
        return path.read_tagged(largest)[0]
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        if status.st_size > largest:
            raise OSError(
                errno.EFBIG, f"it has {status.st_size} bytes, and at most {largest} are read"
            )
        data = file.read(largest + 1)
    if len(data) > largest:
        raise OSError(errno.EFBIG, f"it has more than the {largest} bytes that are read")
    return data


def check_entries(folder: Location) -> None:
    """Refuse a run's folder that holds a link, a pipe, a socket or a device, however deep.

    The folder itself may be reached through a link: where results lie is their owner's affair.

    Raises:
        HarnessError: It does, or a folder in it cannot be listed.
    """
    if isinstance(folder, RemotePath):
        return
    waiting = [local(folder)]
    while waiting:
        inside = waiting.pop()
        try:
            with os.scandir(inside) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(inside / entry.name)
                    elif not entry.is_file(follow_symlinks=False):
                        kind = "a link" if entry.is_symlink() else "no regular file"
                        raise HarnessError(
                            f"{inside / entry.name} is {kind}, and a run's folder holds files only",
                            "put the files themselves there, or leave it out",
                        )
        except FileNotFoundError:
            continue  # merged or let go of by its driver meanwhile
        except NotADirectoryError as error:
            raise explain(error, inside) from error
        except PermissionError as error:
            raise HarnessError(f"cannot list {inside}: {error.strerror}") from error


def is_leftover(path: Location) -> bool:
    """Return whether a file is, by its name, what a crash left of a write."""
    return path.name.startswith(TEMPORARY)


def remove_leftovers(*folders: Location) -> None:
    """Remove what a crash left directly in some folders; only for who writes there alone."""
    for folder in folders:
        if isinstance(folder, RemotePath):
            continue  # an upload that broke off left nothing
        for path in folder.glob(f"{TEMPORARY}*"):
            with explained(path):
                path.unlink(missing_ok=True)


def write_json(path: Location, content: Any) -> None:
    """Write a JSON file atomically, for people to read as well."""
    write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())


def make_folder(path: Location) -> None:
    """Make a folder and its parents; an object store has none and needs none."""
    if isinstance(path, RemotePath):
        return
    with explained(path):
        local(path).mkdir(parents=True, exist_ok=True)


def check_writable(path: Location) -> None:
    """Make a folder and a file in it, and take them away again; in an object store do nothing."""
    if isinstance(path, RemotePath):
        return
    new: list[Path] = []
    try:
        with explained(path):
            new = [folder for folder in (path, *path.parents) if not folder.exists()]
            path.mkdir(parents=True, exist_ok=True)
            probe = path / f"{TEMPORARY}{secrets.token_hex(8)}"
            os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
            probe.unlink()
    finally:
        for folder in new:
            with contextlib.suppress(OSError):
                folder.rmdir()


def move(path: Location, folder: Location) -> None:
    """Move a file into a folder, which must be of the same store."""
    with explained(folder):
        if isinstance(path, RemotePath) and isinstance(folder, RemotePath):
            path.rename(folder / path.name)
        else:
            local(path).rename(local(folder) / path.name)


@contextmanager
def explained(path: Location) -> Iterator[None]:
    """Turn an OSError of the block into one sentence and a hint, as `explain` does."""
    try:
        yield
    except OSError as error:
        raise explain(error, path) from error


def explain(error: OSError, path: Location) -> HarnessError:
    """Return one sentence and a hint for an OSError."""
    full = "free some space; what was written before is intact"
    forbidden = "choose a folder you may write to with --out"
    taken = "a file stands where a folder is needed; choose another --out"
    hints = {
        **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), full),
        **dict.fromkeys((errno.EACCES, errno.EPERM, errno.ENOENT, errno.EROFS), forbidden),
        **dict.fromkeys((errno.ENOTDIR, errno.EEXIST), taken),
        errno.ENAMETOOLONG: "choose a shorter name with --out",
        errno.ELOOP: "put the folder or file itself there instead of a link",
    }
    reason = error.strerror or type(error).__name__
    return HarnessError(f"cannot write {path}: {reason}", hints.get(error.errno or 0, ""))


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot flush a folder. Of a file the same answer is a failure.
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)
