"""The command line as a whole, and how its errors look."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click

from harness.cli import cli
from harness.cli.terminal import guarded, printable
from harness.engine.threads import patient_threads
from harness.errors import HarnessError


def run() -> NoReturn:
    """Run the command that this process was started with, and exit.

    Set `HARNESS_TRACEBACK=1` to see where an error came from.
    """
    patient_threads()
    with guarded():
        sys.exit(_status())


def _status() -> int:
    try:
        status = cli.main(standalone_mode=False)
    except HarnessError as error:
        if os.environ.get("HARNESS_TRACEBACK"):
            raise
        click.echo(f"error: {printable(error.message)}", err=True)
        if error.hint:
            click.echo(f"hint: {printable(error.hint)}", err=True)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        return 130
    except BrokenPipeError:
        # The reader of our output went away (`… | head`): not our error, and nothing to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status if isinstance(status, int) else 0
