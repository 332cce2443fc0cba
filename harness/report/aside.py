"""Work beside this process, in a copy of it: figures are drawn while tables are computed."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, TypeVar

T = TypeVar("T")

PATIENCE = 120.0
"""Seconds that a copy's result is waited for; then the work is done here."""


def aside(work: Callable[[], T]) -> Callable[[], T]:
    """Begin some work in a copy of this process, and return what waits for its result.

    The result is the same wherever the work is done. It is done by whoever waits for it where a
    process cannot be copied, and where the copy came to nothing: an error is raised here.
    """
    if not sys.platform.startswith("linux") or multiprocessing.current_process().daemon:
        return work
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    copy = context.Process(target=_send, args=(work, sender), daemon=True)
    try:
        copy.start()
    except OSError:  # no room for another process
        return work
    sender.close()

    def result() -> T:
        with suppress(EOFError):
            if receiver.poll(PATIENCE):
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
