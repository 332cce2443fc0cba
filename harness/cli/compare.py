"""`compare`: runs against each other, prompt by prompt, in the terminal."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from harness.cli.places import RunPlace, plugins_option, price_options
from harness.cli.tables import print_table
from harness.cli.terminal import printable

if TYPE_CHECKING:
    import pandas as pd

    from harness.analysis.findings import Findings
    from harness.log.location import Location
    from harness.runs.money import Price


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
@click.option("--verbose", is_flag=True, help="Print every mean and tag, and all cost axes.")
@price_options
@plugins_option
def compare(
    runs: tuple[Location, ...],
    force: bool,
    separate_seeds: bool,
    budget: int | None,
    seed: int,
    verbose: bool,
    price: Price,
) -> int:
    """Print the scores of the runs in the folders A, B and so on, and how each pair compares.

    Prompts are compared one by one, so the runs need common prompts; runs of one seed share
    their noise too. What each run reaches at the other's cost is printed as well. Runs that
    differ in nothing but their seed count as one, unless there is no other to compare with. Runs
    measured unlike (prompts, resolution, scorer) need --force. Exits with 1 if nothing of a run
    could be scored.
    """
    from harness.analysis.findings import analyse
    from harness.cli.display import stage_display
    from harness.errors import UsageError
    from harness.models import provenance

    if len(runs) < 2:
        raise UsageError("one run alone cannot be compared", "name two, or `show` this one")
    with stage_display() as progress:
        of = partial(analyse, runs, force=force, seed=seed, price=price, progress=progress)
        findings = of(separate_seeds=separate_seeds)
        if len(findings.runs) == 1:
            findings = of(separate_seeds=True)
        progress("comparing", "")
        table = findings.comparison if budget is None else findings.comparison_at(budget)

    for text in findings.warnings:
        click.echo(f"warning: {printable(text)}", err=True)
    if budget is not None:
        click.echo(f"at budget {budget}, read from these logs")
    if verbose:
        _print_details(findings, table, with_costs=budget is None)
    else:
        if budget is None:
            _print_runs(findings)
        for row in table[table["kind"] == "micro"].to_dict("records"):
            click.echo(printable(_pair(row, findings if budget is None else None)))
        click.echo(
            "Micro, over common prompts; p by Holm over all pairs. --verbose shows the rest."
        )
    for row in findings.transfer.to_dict("records"):
        click.echo(printable(_gain(row)))
    for line in findings.bills:
        click.echo(printable(line))
    for line in provenance.lines(*(run.verifying for run in findings.runs)):
        click.echo(printable(f"verifier  {line}"))
    for sentence in findings.unscored:
        click.echo(printable(sentence), err=True)
    return 1 if findings.unscored else 0


def _print_runs(findings: Findings) -> None:
    """Print one row a run, and how they were measured."""
    from harness.analysis.curves import AXES

    costs = [] if findings.axis == "draws" else [findings.axis]
    results = findings.results[findings.results["kind"] == "micro"].to_dict("records")
    rows = [
        [
            printable(row["run"]),
            _score(row),
            f"{row['draws']:.2f}",
            *(f"{row[axis]:.4g}" for axis in costs),
        ]
        for row in results
    ]
    print_table(["run", "micro, 95% interval", "draws", *(AXES[axis] for axis in costs)], rows)
    for line in findings.captions:
        click.echo(printable(line))
    click.echo()


def _score(row: Mapping[Hashable, Any]) -> str:
    from harness.runs.wording import UNKNOWN

    if row["score"] != row["score"]:
        return UNKNOWN
    return f"{row['score']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def _pair(row: Mapping[Hashable, Any], findings: Findings | None) -> str:
    """Return the line about a pair: micro difference, and that at equal cost of known findings."""
    from harness.analysis.comparison import equal_cost
    from harness.analysis.curves import AXES

    names = f"{row['second']} minus {row['first']}: "
    if row["difference"] != row["difference"]:
        return f"{names}no prompt has a score in both"
    p = "p < 0.001" if row["p_holm"] < 0.001 else f"p = {row['p_holm']:.3f}"
    line = f"{_signed(row)}, {p}, {row['prompts']} prompts"
    if findings is None:
        return f"{names}{row['score_second']:.3f} − {row['score_first']:.3f} = {line}"
    first, second = str(row["first"]), str(row["second"])
    equal = equal_cost(findings.matched_by_pair, second, first, findings.axis)
    if equal["difference"] != equal["difference"]:
        return f"{names}{line}; neither's log reaches the other's {AXES[findings.axis]}"
    return f"{names}{line}; at the {AXES[findings.axis]} of {equal['end']} {_signed(equal)}"


def _signed(row: Any) -> str:
    interval = f" [{row['low']:+.3f}, {row['high']:+.3f}]" if row["low"] == row["low"] else ""
    return f"{row['difference']:+.3f}{interval}".replace("-", "−")


def _print_details(findings: Findings, table: pd.DataFrame, *, with_costs: bool) -> None:
    from harness.report.contents import comparison, matched

    for line in findings.captions:
        click.echo(printable(line))
    paired = comparison(table, [])
    for (first, second), rows in paired.shown.groupby(["first", "second"], sort=False):
        click.echo(f"\n{printable(second)} minus {printable(first)}")
        shown = rows.drop(columns=["first", "second"])
        print_table(list(shown.columns), shown.to_numpy())
    for note in paired.notes:
        click.echo(printable(note))
    if not with_costs:
        return
    equal = matched(findings.matched, [])
    click.echo()
    for row in equal.shown.to_dict("records"):
        click.echo(printable(_sentence(row)))
    for note in equal.notes:
        click.echo(printable(note))


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
    if not row["reaches"]:
        return f"{start}: {row['run − other']}"
    return (
        f"{start} {row['other run']} reaches {row['reaches']} at budget {row['at budget']}; "
        f"difference {row['run − other']}; it needs {row['other needs']} for that score"
    )
