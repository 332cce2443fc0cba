"""Parts of a measurement, each in a process of its own: one that fails or hangs costs only itself.

A GPU's errors outlive the call that made them, and a kernel that hangs cannot be interrupted, so a
part is a process. What it has measured by then is kept.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from harness.errors import first_line

Row = dict[str, Any]
"""One measurement: what was measured, and its figures, or its `error`."""

PRELOADED = ("torch", "diffusers", "transformers", "tests.perf.gpu.models")
"""Imported once, in the process that all parts are forked from; none of them touches a GPU."""


@dataclass
class Outcome:
    """The result of a part.

    Attributes:
        seconds: How long it took.
        limit: How long it might take.
        rows: Its measurements, as far as it came.
        error: Why it ended early, or None.
    """

    seconds: float
    limit: float
    rows: list[Row] = field(default_factory=list)
    error: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)


class Recorder:
    """Hands a part's measurements over as they are made. Has state: the pipe to who asked."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, **row: Any) -> None:
        """Hand over one measurement."""
        self._connection.send(row)

    @contextmanager
    def guarded(self, **named: Any) -> Iterator[Row]:
        """Fill one measurement; if its block fails, the error is its figure and others go on."""
        row: Row = dict(named)
        try:
            yield row
        except Exception as error:
            row["error"] = f"{type(error).__name__}: {first_line(error)}"
            _let_go()
        self.add(**row)


Part = Callable[..., None]
"""Takes a `Recorder` and its own arguments; importable, so that another process can run it."""


def run_part(part: Part, limit: float, *args: Any) -> Outcome:
    """Run a part in a process of its own.

    Args:
        part: The part.
        limit: Seconds after which it is killed.
        args: For the part, after its `Recorder`.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(part, theirs, *args))
    started = time.monotonic()
    process.start()
    theirs.close()
    outcome = Outcome(0.0, limit)
    try:
        while ours.poll(max(0.0, started + limit - time.monotonic())):
            message = ours.recv()
            if isinstance(message, str):
                outcome.error = message
            else:
                outcome.rows.append(message)
        outcome.error = f"past its limit of {limit:g} s"
        process.kill()
    except EOFError:
        process.join()
        if process.exitcode:
            outcome.error = outcome.error or f"its process ended with {process.exitcode}"
    finally:
        process.join()
        ours.close()
    outcome.seconds = time.monotonic() - started
    return outcome


def _child(part: Part, connection: Connection, *args: Any) -> None:
    try:
        part(Recorder(connection), *args)
    except Exception as error:
        connection.send(f"{type(error).__name__}: {first_line(error)}")
    finally:
        connection.close()


def _let_go() -> None:
    """Give back memory that a failed measurement held."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
