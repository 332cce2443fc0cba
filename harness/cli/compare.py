"""`compare`: two runs, prompt by prompt, in the terminal."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import pandas as pd


@click.command(short_help="Compare two runs prompt by prompt.")
@click.argument("first", type=click.Path(path_type=Path), metavar="A")
@click.argument("second", type=click.Path(path_type=Path), metavar="B")
@click.option("--force", is_flag=True, help="Compare runs of unlike protocols, with a warning.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True,
              help="Of bootstrap and sign flips.")  # fmt: skip
def compare(first: Path, second: Path, force: bool, seed: int) -> None:
    """Print the paired comparison of the runs in the folders A and B.

    Prompts are compared one by one, so the runs need common prompts; runs of one seed share
    their noise too. What each run reaches at the other's cost is printed as well. Runs measured
    unlike (prompts, resolution, scorer) need --force.
    """
    from harness.analysis.comparison import comparison_table
    from harness.analysis.curves import all_curves
    from harness.analysis.logged_run import load_run
    from harness.analysis.matched import matched_table
    from harness.analysis.protocol import caption, check_alike, labels, warnings
    from harness.report.contents import comparison, matched

    runs = [load_run(first), load_run(second)]
    names = labels(runs)
    for text in [*warnings(runs), *check_alike(runs, force=force)]:
        click.echo(f"warning: {text}", err=True)
    curves = all_curves(runs)
    paired = comparison(comparison_table(runs, names, seed=seed), [])
    equal = matched(matched_table(curves, names, seed=seed), [])
    for name, run in zip(names, runs, strict=True):
        click.echo(caption(name, run))
    for name, of in zip(names, curves, strict=True):
        for note in of.notes:
            click.echo(f"{name}: {note}")
    click.echo(f"\n{names[1]} minus {names[0]}")
    _print(paired.shown.drop(columns=["first", "second"]))
    for note in paired.notes:
        click.echo(note)
    click.echo()
    for row in equal.shown.to_dict("records"):
        click.echo(_sentence(row))
    for note in equal.notes:
        click.echo(note)


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


def _print(frame: pd.DataFrame) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in frame.columns:
        table.add_column(Text(name), no_wrap=True)
    for row in frame.to_numpy():
        table.add_row(*(Text(str(cell)) for cell in row))
    # A narrow terminal breaks the lines itself; cells cut short would be worse.
    Console(highlight=False, width=200).print(table)
