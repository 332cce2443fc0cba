"""`what-if`: what another strategy would have come to, from a run's log alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from harness.cli.places import RunPlace, plugins_option

if TYPE_CHECKING:
    from harness.log.location import Location


@click.command("what-if", short_help="Replay another strategy against a run's draws.")
@click.argument("runs", nargs=-1, required=True, type=RunPlace(), metavar="RUN…")
@click.option("--strategy", required=True, help="How to search.")
@click.option("-S", "options", multiple=True, metavar="NAME=VALUE", help="Strategy option.")
@click.option(
    "--budget",
    type=click.IntRange(min=1),
    metavar="N",
    help="The most draws for one prompt; default: the run's own.",
)
@click.option("--judge", metavar="KIND", help="Another judge: oracle, or metric=NAME as logged.")
@click.option("-J", "judge_options", multiple=True, metavar="NAME=VALUE", help="Judge option.")
@plugins_option
def what_if(
    runs: tuple[Location, ...],
    strategy: str,
    options: tuple[str, ...],
    budget: int | None,
    judge: str | None,
    judge_options: tuple[str, ...],
) -> int:
    """Print what a strategy would have come to on the draws of the runs in the folders RUN….

    No model is needed: every draw that the strategy asks for is answered from the log, whole or in
    parts (`run --strategy bank` logs many), and the numbers are those of a run of it. Where the log
    lacks a draw, nothing is estimated: the draws are named, and the exit code is 1.
    """
    from harness.analysis.what_if import what_if as replay
    from harness.cli.summary_view import print_result
    from harness.options import parse

    settings, judging = parse(options, flag="-S"), parse(judge_options, flag="-J")
    code = 0
    for run in runs:
        result = replay(run, strategy, settings, budget=budget, judge=judge, judge_settings=judging)
        summary = result.summary
        print_result(summary)
        if result.manifest.config.get("batch_rows"):
            click.echo(
                "note: these draws were made in batches chosen for the run's own rounds; a run of "
                "this strategy may choose others, which can change last bits",
                err=True,
            )
        click.echo(f"replayed  from the draws of {result.folder.path}")
        code = max(code, int(summary.nothing_scored))
    return code
