"""`compare`: runs against each other, prompt by prompt, in the terminal."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from harness.cli.options import COUNT, NATURAL, plugins_option, price_options, separate_seeds_option
from harness.cli.terminal import print_table, printable, say
from harness.errors import UsageError
from harness.log.location import Location, location

if TYPE_CHECKING:
    import pandas as pd

    from harness.analysis.findings import Findings


@click.command(short_help="Compare runs prompt by prompt.")
@click.argument("runs", nargs=-1, required=True, type=location, metavar="A B…")
@click.option("--force", is_flag=True, help="Compare runs of unlike protocols, with a warning.")
@separate_seeds_option
@click.option("--budget", type=COUNT, metavar="N",
              help="Compare at this budget, as the logs answer it, and not at each run's "
              "own.")  # fmt: skip
@click.option("--seed", type=NATURAL, default=0, help="Of bootstrap and sign flips.")
@click.option("--verbose", is_flag=True, help="Print every mean and tag, and all cost axes.")
@price_options
@plugins_option
def compare(
    runs: tuple[Location, ...],
    separate_seeds: bool,
    budget: int | None,
    verbose: bool,
    **options: Any,
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
    from harness.models import provenance

    if len(runs) < 2:
        raise UsageError("one run alone cannot be compared", "name two, or `show` this one")
    with stage_display() as progress:
        of = partial(analyse, runs, progress=progress, **options)
        findings = of(separate_seeds=separate_seeds)
        if len(findings.runs) == 1:
            findings = of(separate_seeds=True)
        progress("comparing", "")
        table = findings.comparison if budget is None else findings.comparison_at(budget)

    say(*findings.warnings, prefix="warning: ", err=True)
    if budget is not None:
        click.echo(f"at budget {budget}, read from these logs")
    if verbose:
        _print_details(findings, table, with_costs=budget is None)
    else:
        if budget is None:
            _print_runs(findings)
        pairs = table[table["kind"] == "micro"].to_dict("records")
        say(*(_pair(row, findings if budget is None else None) for row in pairs))
        say("Micro, over common prompts; p by Holm over all pairs. --verbose shows the rest.")
    say(*map(_gain, findings.transfer.to_dict("records")), *findings.bills)
    cards = provenance.lines(*(run.verifying for run in findings.runs))
    say(*cards, prefix="verifier  ")
    say(*findings.unscored, err=True)
    return 1 if findings.unscored else 0


def _print_runs(findings: Findings) -> None:
    """Print one row a run, and how they were measured."""
    from harness.analysis.curves import AXES
    from harness.report.contents import interval

    costs = [] if findings.axis == "draws" else [findings.axis]
    results = findings.results[findings.results["kind"] == "micro"].to_dict("records")
    rows = [
        [
            printable(row["run"]),
            interval(row),
            f"{row['draws']:.2f}",
            *(f"{row[axis]:.4g}" for axis in costs),
        ]
        for row in results
    ]
    print_table(["run", "micro, 95% interval", "draws", *(AXES[axis] for axis in costs)], rows)
    say(*findings.captions)
    click.echo()


def _pair(row: Mapping[Hashable, Any], findings: Findings | None) -> str:
    """Return the line about a pair: micro difference, and that at equal cost of known findings."""
    from harness.analysis.comparison import equal_cost
    from harness.analysis.curves import AXES
    from harness.report.contents import difference

    names = f"{row['second']} minus {row['first']}: "
    if row["difference"] != row["difference"]:
        return f"{names}no prompt has a score in both"
    p = "p < 0.001" if row["p_holm"] < 0.001 else f"p = {row['p_holm']:.3f}"
    line = f"{difference(row)}, {p}, {row['prompts']} prompts"
    if findings is None:
        return f"{names}{row['score_second']:.3f} − {row['score_first']:.3f} = {line}"
    first, second = str(row["first"]), str(row["second"])
    equal = equal_cost(findings.matched_by_pair, second, first, findings.axis)
    if equal["difference"] != equal["difference"]:
        return f"{names}{line}; neither's log reaches the other's {AXES[findings.axis]}"
    return f"{names}{line}; at the {AXES[findings.axis]} of {equal['end']} {difference(equal)}"


def _print_details(findings: Findings, table: pd.DataFrame, *, with_costs: bool) -> None:
    from harness.report.contents import comparison, matched

    say(*findings.captions)
    paired = comparison(table, [])
    for (first, second), rows in paired.shown.groupby(["first", "second"], sort=False):
        click.echo(f"\n{printable(second)} minus {printable(first)}")
        shown = rows.drop(columns=["first", "second"])
        print_table(list(shown.columns), shown.to_numpy())
    say(*paired.notes)
    if not with_costs:
        return
    equal = matched(findings.matched, [])
    click.echo()
    say(*map(_sentence, equal.shown.to_dict("records")), *equal.notes)


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
