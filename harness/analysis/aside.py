"""Work beside this process, in a copy of it: replays are shared out, figures drawn meanwhile."""

from __future__ import annotations

import multiprocessing
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, TypeVar

T = TypeVar("T")

PATIENCE, TIMES = 60.0, 10.0
"""Seconds that a copy's result is waited for, beside so many times what passed since it began."""


def aside(work: Callable[[], T]) -> Callable[[], T]:
    """Begin some work in a copy of this process, and return what waits for its result.

    The result is the same wherever the work is done. It is done by whoever waits for it where a
    process cannot be copied, and where the copy came to nothing: an error is raised here. Beside
    threads of a server, which may hold locks, none is begun.
    """
    is_alone = threading.current_thread() is threading.main_thread()
    is_copy = multiprocessing.current_process().daemon
    if not sys.platform.startswith("linux") or is_copy or not is_alone:
        return work
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    copy = context.Process(target=_send, args=(work, sender), daemon=True)
    try:
        copy.start()
    except OSError:  # no room for another process
        return work
    sender.close()
    begun = time.monotonic()

    def result() -> T:
        with suppress(EOFError):
            if receiver.poll(PATIENCE + TIMES * (time.monotonic() - begun)):
                sent: T = receiver.recv()
                copy.join()
                return sent
        copy.kill()
        return work()

    return result


def _send(work: Callable[[], Any], sender: Connection) -> None:
    # Whatever goes wrong here goes wrong again where it can be told.
    with suppress(Exception, KeyboardInterrupt):
        sender.send(work())
