"""Tables in the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def print_table(headings: Sequence[object], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under headings, none of them cut.

    Args:
        headings: One a column.
        rows: Cells; what they hold is shown as text.
    """
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
