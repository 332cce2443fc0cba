"""One driver a run in an object store.

A store has no locks that end with their holder. So the holder writes its name and a count into
an object and raises the count every few seconds. Who finds the object watches it: if the count
moves, somebody is at work and the newcomer is refused; if it stands still for long enough, or the
holder was a process of this machine that is gone, it is taken over.

Every write is conditional: the object is made only where there is none, and replaced only while it
is the one that was read. So of several who try at once exactly one holds the run, and a driver that
was taken over cannot beat any more. At its end a driver does not delete the object, which no store
does conditionally, but writes that nobody holds it.

A driver that was cut off or halted for longer than `STALE_SECONDS` may find another in its place;
it stops within a beat, and what both wrote meanwhile has different digests in its names, which
readers refuse by name. Nothing is mixed in silence.
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
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from harness.errors import HarnessError
from harness.log.remote import RemotePath

BEAT_SECONDS = 10.0
STALE_SECONDS = 40.0


@dataclass(frozen=True)
class Holder:
    """The content of the lock object.

    Attributes:
        owner: A name that no other holder ever has; None where nobody holds the run.
        pid: The process.
        host: Its machine.
        system: The boot and process namespace in which the pid means something, if that is known.
        beat: The count.
    """

    owner: str | None = None
    pid: int = 0
    host: str = "an unknown host"
    system: str | None = None
    beat: int = 0

    def __str__(self) -> str:
        return f"pid {self.pid} on {self.host}" if self.owner else "nobody known"

    @classmethod
    def here(cls) -> Holder:
        """Return this process, under a new name."""
        return cls(uuid.uuid4().hex, os.getpid(), socket.gethostname(), _system())

    def encoded(self) -> bytes:
        """Return what is written into the object."""
        return json.dumps(asdict(self)).encode()

    def is_gone(self) -> bool:
        """Return whether it was a process of this very system that is no more."""
        if self.system is None or self.system != _system():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except (OSError, OverflowError):
            return False
        return False


@contextmanager
def lease(folder: RemotePath) -> Iterator[None]:
    """Hold a run for this process.

    Raises:
        HarnessError: Another process holds it, or took it over; or the store ignores conditions,
            so that a second driver could not be kept out.
    """
    path, me = folder / ".lock", Holder.here()
    heart = _Heart(path, me, _acquire(path, me))
    heart.start()
    try:
        yield
    except BaseException as error:
        if heart.usurper is not None:
            raise _refusal(path, heart.usurper) from error
        raise
    finally:
        heart.stop()


def _acquire(path: RemotePath, me: Holder) -> str:
    """Return the tag of the object that says that this process holds the run."""
    seen = _read(path)
    if seen is None:
        tag = path.create(me.encoded())
        if tag is not None and path.create(me.encoded()) is not None:
            raise HarnessError(
                f"the store of {path.parent} ignores conditions on writes, so a second driver "
                "could not be kept out",
                "use a store that honours If-None-Match and If-Match, as S3 does",
            )
    else:
        holder, old = seen
        if holder.owner is not None and not holder.is_gone():
            old = _wait_for(path, holder, old)
        tag = path.replace(me.encoded(), old)
    now = _read(path) if tag is None else None
    if now is not None and now[0] == me:
        return now[1]  # the answer to the first try was lost
    if tag is None:
        raise _refusal(path, now[0] if now else Holder())
    return tag


def _wait_for(path: RemotePath, holder: Holder, tag: str) -> str:
    """Watch a holder until it has been silent for long enough, and return its last tag."""
    logging.getLogger(__name__).warning(
        "%s holds %s; watching for up to %g s whether it is alive",
        holder, path.parent, STALE_SECONDS,
    )  # fmt: skip
    ends = time.monotonic() + STALE_SECONDS
    while time.monotonic() < ends:
        time.sleep(min(BEAT_SECONDS, STALE_SECONDS) / 4)
        now = _read(path)
        if now is not None and now[0].owner is None:
            return now[1]
        if now is None or now[1] != tag:
            raise _refusal(path, now[0] if now else holder)
    return tag


class _Heart(threading.Thread):
    """Raises the count. Has state: the count, and who took over, if anybody did."""

    def __init__(self, path: RemotePath, me: Holder, tag: str) -> None:
        super().__init__(daemon=True, name="lease")
        self._path, self._me, self._tag = path, me, tag
        self._ended = threading.Event()
        self.usurper: Holder | None = None

    def run(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            # A store that cannot be reached now is asked again at the next beat.
            with contextlib.suppress(OSError, HarnessError):
                self._write(replace(self._me, beat=self._me.beat + 1))
                if self.usurper is not None:
                    os.kill(os.getpid(), signal.SIGINT)
                    return

    def stop(self) -> None:
        """End, and let go of the run if it is still held."""
        self._ended.set()
        self.join()
        if self.usurper is None:
            with contextlib.suppress(OSError, HarnessError):
                self._write(Holder())

    def _write(self, holder: Holder) -> None:
        tag = self._path.replace(holder.encoded(), self._tag)
        if tag is None:
            now = _read(self._path)
            if now is not None and now[0] == holder:
                tag = now[1]  # it was written, and the answer was lost
            elif now is not None and now[0].owner == self._me.owner:
                tag = self._path.replace(holder.encoded(), now[1])  # so was an earlier beat
            if tag is None:
                self.usurper = now[0] if now else Holder()
                return
        self._me, self._tag = holder, tag


def _system() -> str | None:
    """Return this boot and this process namespace; None where that cannot be told."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None


def _read(path: RemotePath) -> tuple[Holder, str] | None:
    """Return what the object says and its tag; None if there is none."""
    try:
        data, tag = path.read_tagged()
    except FileNotFoundError:
        return None
    try:
        return TypeAdapter(Holder).validate_json(data), tag
    except ValidationError:
        return Holder(owner="unknown"), tag


def _refusal(path: RemotePath, holder: Holder) -> HarnessError:
    return HarnessError(
        f"another process ({holder}) is writing to {path.parent}",
        "wait until it ends, or choose another place with --out",
    )
