"""`compare`: two runs, prompt by prompt, in the terminal."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import click

from harness.cli.places import RunPlace, plugins_option
from harness.cli.tables import print_table
from harness.cli.terminal import printable

if TYPE_CHECKING:
    from harness.log.location import Location


@click.command(short_help="Compare runs prompt by prompt.")
@click.argument("runs", nargs=-1, required=True, type=RunPlace(), metavar="A B…")
@click.option("--force", is_flag=True, help="Compare runs of unlike protocols, with a warning.")
@click.option(
    "--separate-seeds",
    is_flag=True,
    help="Keep runs apart that differ in nothing but their seed, instead of pooling them.",
)
@click.option(
    "--budget",
    type=click.IntRange(min=1),
    metavar="N",
    help="Compare at this budget, as the logs answer it, and not at each run's own.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True,
              help="Of bootstrap and sign flips.")  # fmt: skip
@plugins_option
def compare(
    runs: tuple[Location, ...], force: bool, separate_seeds: bool, budget: int | None, seed: int
) -> int:
    """Print the paired comparison of the runs in the folders A, B and so on.

    Prompts are compared one by one, so the runs need common prompts; runs of one seed share
    their noise too. What each run reaches at the other's cost is printed as well. Runs that
    differ in nothing but their seed count as one, unless there is no other to compare with. Runs
    measured unlike (prompts, resolution, scorer) need --force. Exits with 1 if nothing of a run
    could be scored.
    """
    from harness.analysis.findings import analyse
    from harness.errors import UsageError
    from harness.report.contents import comparison, matched

    if len(runs) < 2:
        raise UsageError("one run alone cannot be compared", "name two, or `show` this one")
    found = analyse(runs, separate_seeds=separate_seeds, force=force, seed=seed)
    if len(found.runs) == 1:
        found = analyse(runs, separate_seeds=True, force=force, seed=seed)
    for text in found.warnings:
        click.echo(f"warning: {printable(text)}", err=True)
    table = found.comparison if budget is None else found.comparison_at(budget)
    paired = comparison(table, [])
    for line in found.captions:
        click.echo(printable(line))
    if budget is not None:
        click.echo(f"at budget {budget}, read from these logs")
    for (first, second), rows in paired.shown.groupby(["first", "second"], sort=False):
        click.echo(f"\n{printable(second)} minus {printable(first)}")
        shown = rows.drop(columns=["first", "second"])
        print_table(list(shown.columns), shown.to_numpy())
    for note in paired.notes:
        click.echo(printable(note))
    for row in found.transfer.to_dict("records"):
        click.echo(printable(_gain(row)))
    for sentence in found.unscored:
        click.echo(printable(sentence), err=True)
    code = 1 if found.unscored else 0
    if budget is not None:
        return code
    equal = matched(found.matched, [])
    click.echo()
    for row in equal.shown.to_dict("records"):
        click.echo(printable(_sentence(row)))
    for note in equal.notes:
        click.echo(printable(note))
    return code


def _gain(row: dict[Hashable, Any]) -> str:
    interval = f" [{row['low']:+.4g}, {row['high']:+.4g}]" if row["low"] == row["low"] else ""
    gain = f"{row['run']}: selection gains {row['gain']:+.4g}{interval} by the {row['measure']}"
    if row["transfer"] != row["transfer"]:
        return gain
    return (
        f"{gain}, transfer {row['transfer']:.2f} [{row['least']:.2f}, {row['most']:.2f}] of the "
        "judge's own gain, each in standard deviations"
    )


def _sentence(row: dict[Hashable, Any]) -> str:
    start = f"at the cost of {row['at the cost of']}"
    if row["cost"]:
        start += f" ({row['cost']} {row['axis']}, score {row['its score']})"
    if row["note"]:
        return f"{start}: {row['note']}"
    return (
        f"{start} {row['other run']} reaches {row['reaches']} at budget {row['at budget']}; "
        f"difference {row['run − other']}; it needs {row['other needs']} for that score"
    )
