"""Time limits on code in this process: on a strategy that never yields, on a model that hangs."""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import ClassVar

from harness.errors import HarnessError

GRACE_SECONDS = 10.0
"""Time that code which is to be interrupted may take to notice."""


class DeadlineExceeded(Exception):
    """The code under a deadline ran past it."""


class Hung(BaseException):
    """A model ran past its deadline. No `Exception`: a plug-in's own handler is not to stop it."""


class deadline:
    """Raise `DeadlineExceeded` inside the block once it has run for so long.

    Signals reach the main thread only; in another thread the block runs without a limit. A class
    and no generator, since a replay enters hundreds of thousands of such blocks.

    Args:
        seconds: The limit. 0 is none, and spares blocks within the installing of a handler.
        error: What is raised instead.
    """

    _limits: ClassVar[list[type[BaseException]]] = []

    def __init__(self, seconds: float, error: type[BaseException] = DeadlineExceeded) -> None:
        self._seconds = seconds
        self._error = error

    def __enter__(self) -> None:
        self._is_timed = threading.current_thread() is threading.main_thread()
        if not self._is_timed:
            return
        self._previous = None if self._limits else signal.signal(signal.SIGALRM, _expire)
        self._limits.append(self._error)
        self._outer = signal.setitimer(signal.ITIMER_REAL, self._seconds)[0]

    def __exit__(self, *error: object) -> None:
        if not self._is_timed:
            return
        signal.setitimer(signal.ITIMER_REAL, self._outer)
        self._limits.pop()
        if not self._limits:
            signal.signal(signal.SIGALRM, self._previous)


@contextmanager
def watched(seconds: float, error: HarnessError) -> Iterator[None]:
    """Raise the error if the block runs for so long; end the process if it cannot be interrupted.

    Python code is interrupted within a moment, by `Hung`. Code that is stuck outside of Python
    gets some seconds to come back; then the error is printed as the command line would print it,
    and the process ends with its exit code: nothing else can stop that code, and what the log has
    on disk is safe. In another thread than the main one the block runs without a limit.
    """
    if math.isinf(seconds) or threading.current_thread() is not threading.main_thread():
        yield
        return
    guard = threading.Timer(seconds + GRACE_SECONDS, _end, [error])
    guard.daemon = True
    guard.start()
    try:
        with deadline(seconds, Hung):
            yield
    except Hung:
        raise error from None
    finally:
        guard.cancel()


def _expire(_signal: int, _frame: FrameType | None) -> None:
    raise deadline._limits[-1]


def _end(error: HarnessError) -> None:
    lines = [f"error: {error.message}", *([f"hint: {error.hint}"] if error.hint else [])]
    print("", *lines, sep="\n", file=sys.stderr, flush=True)
    os._exit(error.exit_code)
