"""Tables in the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from harness.cli.terminal import printable

if TYPE_CHECKING:
    from rich.table import Table

    from harness.statistics.intervals import Estimate


def print_table(headings: Sequence[object], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under headings, none of them cut; what cells hold is shown as text."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in headings:
        table.add_column(Text(str(heading)), no_wrap=True)
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    # A narrow terminal breaks the lines itself; cells cut short would be worse.
    Console(highlight=False, width=200).print(table)


def scores_table(
    counted: Sequence[str], rows: Iterable[tuple[str, Estimate | None, Sequence[str], str]]
) -> Table:
    """Return a table of scores with their intervals."""
    from rich.table import Table
    from rich.text import Text

    from harness.runs.wording import cells

    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("", "score", "95% interval", *counted, "method"):
        table.add_column(name, justify="left" if name in ("", "method") else "right")
    for name, estimate, over, style in rows:
        value, interval, method = cells(estimate)
        table.add_row(Text(printable(name)), value, interval, *over, method, style=style)
    return table


def metric_line(name: str, mean: Estimate) -> str:
    """Return what is printed of the mean of a metric, with its interval if there is one."""
    interval = f" ({mean.low:.4g}–{mean.high:.4g})" if mean.method else ""
    return f"metric    {name} {mean.value:.4g}{interval}"
