"""Progress of a run or of other work: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from harness.cli.terminal import printable, say
from harness.engine.progress import Progress as Counts
from harness.log.run_folder import RunFolder
from harness.models import leakage
from harness.models.bundled import is_miniature, suite_name
from harness.plan import Plan

PLAIN_SECONDS = 10.0


@contextmanager
def display(plan: Plan, folder: RunFolder, *, fresh: bool) -> Iterator[Callable[[Counts], None]]:
    """Show a run's progress on stderr; yields what to call with the counts."""
    config = plan.config
    fields = config.model_dump(mode="json")
    click.echo(
        f"{'run' if fresh else 'resuming'}: {config.strategy.name}, budget {config.budget}, "
        f"{len(plan.prompts)} prompts × {config.replicates} on {suite_name(fields)}"
        f"{' (miniature models)' if is_miniature(fields) else ''}"
        f"{' (ORACLE: the judge is the scorer)' if config.oracle else ''}"
        f"\nin:  {folder.path}",
        err=True,
    )
    leaks = filter(None, [leakage.warning(fields), *leakage.notices(fields)])
    say(*plan.truncated().sentences, *leaks, prefix="warning: ", err=True)
    total, status = len(plan.searches), f"loading {_listed(list(config.specs))} …"
    if not sys.stderr.isatty():
        click.echo(f"0/{total} searches, {status}", err=True)
        yield _lines(
            lambda counts, _: (
                f"{counts.searches_ended}/{counts.searches_total} searches, " + _status(counts)
            )
        )
        return
    columns = (
        SpinnerColumn(),
        bar_column(10),
        TextColumn("{task.completed:.0f}/{task.total:.0f} searches"),
        TextColumn("{task.fields[status]}", table_column=Column(no_wrap=True, overflow="ellipsis")),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("searches", total=total, status=status)
        yield lambda counts: bar.update(
            task,
            total=counts.searches_total,
            completed=counts.searches_ended,
            status=_status(counts),
        )


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]])) or "nothing"


def bar_column(width: int) -> BarColumn:
    """Return a bar in the colours that reach a terminal: `harness.cli.terminal` lets no others."""
    return BarColumn(width, style="dim", complete_style="cyan", finished_style="green")


def _lines(text: Callable[..., str]) -> Callable[..., None]:
    """Return what prints a line now and then, made of what it is called with and the seconds."""
    started = shown = time.monotonic()

    def observe(*counts: Any) -> None:
        nonlocal shown
        if time.monotonic() - shown >= PLAIN_SECONDS:
            shown = time.monotonic()
            click.echo(text(*counts, shown - started), err=True)

    return observe


def _status(counts: Counts) -> str:
    if not counts.draws + counts.replayed + counts.reused.total():
        return "waiting for the first images"
    parts = [f"{counts.draws} draws", f"{counts.draws_per_second:.1f} images/s"]
    if counts.reused:
        parts.append(f"{counts.reused.total()} reused")
    if counts.micro is not None:
        parts.append(f"micro {counts.micro:.3f}")
    if counts.draws_failed:
        parts.append(f"{counts.draws_failed} failed")
    if counts.failures:
        parts.append(f"{counts.failures.total()} failed tries")
    return ", ".join(parts)


@contextmanager
def count_display(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show progress on stderr; yields what to call with the count so far and the total."""
    if not sys.stderr.isatty():
        yield _lines(lambda done, total, seconds: f"{done}/{total} {what}, {done / seconds:.1f}/s")
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
