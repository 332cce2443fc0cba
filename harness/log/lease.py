"""One driver a run in an object store, as far as that can be had there.

A store has no locks that end with their holder. So the holder writes its name and a count into
an object and raises the count every few seconds. Who finds the object watches it: if the count
moves, somebody is at work and the newcomer is refused; if it stands still for long enough, or the
holder was a process of this machine that is gone, it is taken over. Whoever takes over writes its
name, waits, and looks whether another has written over it.

This keeps drivers apart that can reach the store. A driver that was cut off or halted for longer
than `STALE_SECONDS` may find another in its place; it stops within a beat, and what both wrote
meanwhile has different digests in its names, which readers refuse by name. Nothing is mixed in
silence.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.log.remote import RemotePath

BEAT_SECONDS = 10.0
STALE_SECONDS = 40.0
SETTLE_SECONDS = 2.0


@contextmanager
def lease(folder: RemotePath) -> Iterator[None]:
    """Hold a run for this process.

    Raises:
        HarnessError: Another process holds it, or took it over.
    """
    path = folder / ".lock"
    me = {
        "owner": uuid.uuid4().hex,
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "system": _system(),
    }
    _wait_for(path)
    path.write_bytes(_said(me, 0))
    time.sleep(SETTLE_SECONDS)
    if (holder := _read(path)) is None or holder["owner"] != me["owner"]:
        raise _refusal(path, holder)
    heart = _Heart(path, me)
    heart.start()
    try:
        yield
    except BaseException as error:
        if heart.lost is not None:
            raise _refusal(path, heart.lost) from error
        raise
    finally:
        heart.stop()
        if heart.lost is None:
            with contextlib.suppress(OSError, HarnessError):
                path.unlink(missing_ok=True)


class _Heart(threading.Thread):
    """Raises the count. Has state: the count, and who took over, if anybody did."""

    def __init__(self, path: RemotePath, me: dict[str, Any]) -> None:
        super().__init__(daemon=True, name="lease")
        self._path, self._me, self._ended = path, me, threading.Event()
        self.lost: dict[str, Any] | None = None

    def run(self) -> None:
        beat = 0
        while not self._ended.wait(BEAT_SECONDS):
            # A store that cannot be reached now is asked again at the next beat.
            with contextlib.suppress(OSError, HarnessError):
                holder = _read(self._path)
                if holder is not None and holder["owner"] != self._me["owner"]:
                    self.lost = holder
                    os.kill(os.getpid(), signal.SIGINT)
                    return
                beat += 1
                if not self._ended.is_set():
                    self._path.write_bytes(_said(self._me, beat))

    def stop(self) -> None:
        self._ended.set()
        self.join()


def _wait_for(path: RemotePath) -> None:
    """Come back when nobody holds the run; refuse if somebody is seen to.

    Raises:
        HarnessError: The holder is alive.
    """
    first = _read(path)
    if first is None or _is_gone(first):
        return
    logging.getLogger(__name__).warning(
        "%s holds %s; watching for up to %g s whether it is alive",
        _name(first), path.parent, STALE_SECONDS,
    )  # fmt: skip
    ends = time.monotonic() + STALE_SECONDS
    while time.monotonic() < ends:
        time.sleep(min(BEAT_SECONDS, STALE_SECONDS) / 4)
        now = _read(path)
        if now is None:
            return
        if now != first:
            raise _refusal(path, now)


def _is_gone(holder: dict[str, Any]) -> bool:
    """Whether it was a process of this very system that is no more."""
    if holder["system"] is None or holder["system"] != _system():
        return False
    try:
        os.kill(int(holder["pid"]), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _system() -> str | None:
    """This boot and this process namespace; None where that cannot be told."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None


def _read(path: RemotePath) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        found = None
    fields = {"owner", "pid", "host", "system", "beat"}
    if not isinstance(found, dict) or not fields <= found.keys():
        return dict.fromkeys(sorted(fields))
    return found


def _said(me: dict[str, Any], beat: int) -> bytes:
    return json.dumps({**me, "beat": beat}).encode()


def _name(holder: dict[str, Any] | None) -> str:
    return f"pid {holder['pid']} on {holder['host']}" if holder else "nobody known"


def _refusal(path: RemotePath, holder: dict[str, Any] | None) -> HarnessError:
    return HarnessError(
        f"another process ({_name(holder)}) is writing to {path.parent}",
        "wait until it ends, or choose another place with --out",
    )
