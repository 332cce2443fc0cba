"""The command line as a whole, and how its errors look."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from io import StringIO
from typing import NoReturn

import click

from harness.cli import cli
from harness.cli.terminal import guarded, printable
from harness.engine.threads import patient_threads
from harness.errors import HarnessError, bounded, first_line


def run() -> NoReturn:
    """Run the command that this process was started with, and exit.

    Set `HARNESS_TRACEBACK=1` to see where an error came from.
    """
    patient_threads()
    _fill_streams()
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # to remove what is half written
    with guarded():
        sys.exit(_status())


def _status() -> int:
    try:
        status = cli.main(standalone_mode=False)
        sys.stdout.flush()  # what cannot be written is to fail here, not when Python ends
    except HarnessError as error:
        if os.environ.get("HARNESS_TRACEBACK"):
            raise
        with suppress(OSError):  # the code says it where nothing can be said
            click.echo(f"error: {printable(error.message)}", err=True)
            if error.hint:
                click.echo(f"hint: {printable(error.hint)}", err=True)
        return error.exit_code
    except click.ClickException as error:
        error.show(shown := StringIO())
        with suppress(OSError):
            click.echo(bounded(shown.getvalue()), err=True, nl=False)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        with suppress(OSError):
            click.echo("stopped", err=True)
        return 130
    except BrokenPipeError:
        # The reader of our output went away (`… | head`): not our error, and nothing to say.
        _mute()
        return 0
    except OSError as error:  # such as a name that no file system takes
        if os.environ.get("HARNESS_TRACEBACK"):
            raise
        _mute()
        place = f"{error.filename}: " if error.filename else ""
        with suppress(OSError):
            text = f"{place}{error.strerror or first_line(error)}"
            click.echo(f"error: {printable(bounded(text))}", err=True)
        return 1
    return status if isinstance(status, int) else 0


def _fill_streams() -> None:
    """Give closed standard streams to nobody, so that no file of a run gets their numbers."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115


def _mute() -> None:
    """Let what cannot be written to standard output go nowhere, so that Python ends in peace."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
