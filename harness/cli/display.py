"""A run as it goes: a progress bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from harness.cli.terminal import printable
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
    for text in plan.truncated().sentences:
        click.echo(f"warning: {printable(text)}", err=True)
    click.echo("loading models …", err=True)
    if text := leakage.warning(fields):
        click.echo(f"warning: {text}", err=True)
    if sys.stderr.isatty():
        with _bar() as observe:
            yield observe
    else:
        yield _lines()


@contextmanager
def _bar() -> Iterator[Callable[[Counts], None]]:
    columns = (
        TextColumn("searches"),
        BarColumn(bar_width=30),
        TaskProgressColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TextColumn("{task.fields[status]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("searches", total=1, status="")

        def observe(counts: Counts) -> None:
            bar.update(
                task,
                total=counts.searches_total,
                completed=counts.searches_ended,
                status=_status(counts),
            )

        yield observe


def _lines() -> Callable[[Counts], None]:
    shown = time.monotonic()

    def observe(counts: Counts) -> None:
        nonlocal shown
        if time.monotonic() - shown >= PLAIN_SECONDS:
            shown = time.monotonic()
            ended = f"{counts.searches_ended}/{counts.searches_total} searches"
            click.echo(f"{ended}, {_status(counts)}", err=True)

    return observe


def _status(counts: Counts) -> str:
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
