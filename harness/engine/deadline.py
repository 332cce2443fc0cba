"""Time limits on code in this process: on a strategy that never yields, on a model that hangs."""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import time
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
        seconds: The limit. 0 is none, and spares blocks within the installing of a handler, and of
            an alarm each: the first one's stays, and goes off where it is another's turn.
        error: What is raised instead.
    """

    _limits: ClassVar[list[tuple[float, type[BaseException]]]] = []
    _alarm: ClassVar[float] = math.inf

    def __init__(self, seconds: float, error: type[BaseException] = DeadlineExceeded) -> None:
        self._seconds = seconds
        self._error = error

    def __enter__(self) -> None:
        self._is_timed = threading.get_ident() == threading.main_thread().ident
        if not self._is_timed:
            return
        if not self._limits:
            self._previous = signal.signal(signal.SIGALRM, _expire)
            self._outer = signal.setitimer(signal.ITIMER_REAL, 0)[0]
        due = time.monotonic() + self._seconds if self._seconds else math.inf
        self._limits.append((due, self._error))
        if due < deadline._alarm:
            _set_alarm(due)

    def __exit__(self, *error: object) -> None:
        if not self._is_timed:
            return
        self._limits.pop()
        if not self._limits:
            deadline._alarm = math.inf
            signal.setitimer(signal.ITIMER_REAL, self._outer)
            signal.signal(signal.SIGALRM, self._previous)
        elif (due := self._limits[-1][0]) not in (math.inf, deadline._alarm):
            _set_alarm(due)


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


def _set_alarm(due: float) -> None:
    deadline._alarm = due
    # 0 would be none, and what is overdue is due in a moment.
    seconds = 0.0 if math.isinf(due) else max(due - time.monotonic(), 1e-6)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _expire(_signal: int, _frame: FrameType | None) -> None:
    due, error = deadline._limits[-1]
    if time.monotonic() < due:  # the alarm was that of a block which has ended
        _set_alarm(due)
        return
    deadline._alarm = math.inf
    raise error


def _end(error: HarnessError) -> None:
    lines = [f"error: {error.message}", *([f"hint: {error.hint}"] if error.hint else [])]
    print("", *lines, sep="\n", file=sys.stderr, flush=True)
    os._exit(error.exit_code)
