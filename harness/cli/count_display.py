"""Progress of work that is no run: a bar or a line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from harness.cli.display import PLAIN_SECONDS, bar_column
from harness.cli.terminal import printable


@contextmanager
def count_display(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show progress on stderr; yields what to call with the count so far and the total."""
    if not sys.stderr.isatty():
        yield _lines(what)
        return
    columns = (TextColumn(what), bar_column(30), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=1, visible=False)  # until somebody knows how many
        yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)


@contextmanager
def stage_display() -> Iterator[Callable[[str, str], None]]:
    """Show on stderr what a command is at; yields what to call with a stage and its detail.

    On a terminal that is one line, written anew and gone in the end; elsewhere a line a stage.
    """
    if not sys.stderr.isatty():
        stages: set[str] = set()

        def say(stage: str, detail: str = "") -> None:
            if stage not in stages:
                stages.add(stage)
                click.echo(f"{stage} …", err=True)

        yield say
        return
    with Console(stderr=True).status("") as status:

        def show(stage: str, detail: str = "") -> None:
            text = f"{stage}: {printable(detail)}" if detail else f"{stage} …"
            status.update(Text(text, no_wrap=True, overflow="ellipsis"))

        yield show


def _lines(what: str) -> Callable[[int, int], None]:
    started = shown = time.monotonic()

    def observe(done: int, total: int) -> None:
        nonlocal shown
        if time.monotonic() - shown >= PLAIN_SECONDS:
            shown = time.monotonic()
            click.echo(f"{done}/{total} {what}, {done / (shown - started):.1f}/s", err=True)

    return observe
