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

from harness.errors import HarnessError

GRACE_SECONDS = 10.0
"""How long code that is to be interrupted may take to notice."""


class DeadlineExceeded(Exception):
    """The code under a deadline ran past it."""


class Hung(BaseException):
    """A model ran past its deadline. No `Exception`: a plug-in's own handler is not to stop it."""


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raise `DeadlineExceeded` inside the block once it has run for so long.

    Signals reach the main thread only; in another thread the block runs without a limit.
    """
    with _alarm(seconds, DeadlineExceeded):
        yield


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
        with _alarm(seconds, Hung):
            yield
    except Hung:
        raise error from None
    finally:
        guard.cancel()


@contextmanager
def _alarm(seconds: float, kind: type[BaseException]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def expire(_signal: int, _frame: FrameType | None) -> None:
        raise kind

    previous = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def _end(error: HarnessError) -> None:
    lines = [f"error: {error.message}", *([f"hint: {error.hint}"] if error.hint else [])]
    print("", *lines, sep="\n", file=sys.stderr, flush=True)
    os._exit(error.exit_code)
