"""The work of `run` and `resume`: execute the plan, show progress, print the summary."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

import click

from harness.cli.display import display
from harness.cli.recorded import recorded_command, resume_command
from harness.cli.summaries import print_summary
from harness.cli.terminal import say
from harness.engine.launch import Execution, check_folder, is_finished, work
from harness.engine.progress import Progress
from harness.errors import HarnessError, Interrupted
from harness.log.files import check_writable
from harness.log.run_folder import RunFolder
from harness.plan import Plan
from harness.price import UNPRICED, Price
from harness.registry import import_paths
from harness.tracking import tracking


@contextmanager
def stoppable(hint: str) -> Iterator[Callable[[], bool]]:
    """Stop politely at the first SIGINT or SIGTERM and at once at the second.

    Yields:
        What says whether to stop.

    Raises:
        Interrupted: It was stopped; with the hint.
    """
    is_stopping = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal is_stopping
        if is_stopping:
            raise KeyboardInterrupt
        is_stopping = True
        click.echo("\nstopping after the batch that is running; once more to stop now", err=True)

    handlers = {s: signal.signal(s, stop) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: is_stopping
    except Interrupted as error:
        raise Interrupted(error.message, hint) from error
    except KeyboardInterrupt:
        raise Interrupted("stopped at once", hint) from None
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def execute(
    plan: Plan,
    execution: Execution,
    folder: RunFolder,
    notes: Mapping[str, Any] | None = None,
    reuse: Sequence[RunFolder] = (),
    track: Sequence[str] = (),
    price: Price = UNPRICED,
) -> int:
    """Work on a run until it is done or stopped; returns the exit code.

    The manifest's entry of this session gets the notes, and what is to be reused, who is to track
    the progress (`harness.tracking.TRACKERS`) and the price come from the command line.

    Raises:
        HarnessError: The run cannot go on.
    """
    resume = resume_command(folder.path, plan.config.model_dump())
    # An error may be about a run that is reused, so that only who was stopped is told of it.
    pools = [f"--reuse {shlex.quote(str(pool.path))}" for pool in reuse]
    manifest = check_folder(folder, plan)
    command = recorded_command()
    try:
        progress = None
        if not is_finished(manifest):
            check_writable(folder.path)
            with (
                stoppable(f"carry on with: {' '.join([resume, *pools])}") as stop,
                display(plan, folder, fresh=manifest is None) as show,
                tracking(track, folder, partial(say, prefix="warning: ", err=True)) as feed,
            ):

                def observe(progress: Progress) -> None:
                    show(progress)
                    feed(progress)

                progress = work(
                    plan,
                    execution,
                    folder,
                    command=command,
                    observe=observe,
                    stop=stop,
                    notes=notes,
                    reuse=reuse,
                )
                if progress is not None:
                    observe(progress)  # of the last turn too
    except Interrupted:
        raise
    except HarnessError as error:
        if _has_begun(folder):
            error.hint = "; ".join(filter(None, [error.hint, f"then carry on with: {resume}"]))
        raise
    if progress is None:
        click.echo(f"already finished: {folder.path}", err=True)
    with import_paths(allowed=True):  # what the plan names has been imported before
        summary = print_summary(folder, price)
    unscored = bool(summary.tags) and summary.searches_scored < summary.searches
    return 1 if summary.searches_failed or unscored or summary.unmeasured else 0


def _has_begun(folder: RunFolder) -> bool:
    try:
        return folder.is_run
    except HarnessError:
        return True  # in a store that cannot be reached any more
