"""Tables as files: CSV with every column in full, Markdown and LaTeX as people read them.

Cells may hold anything a prompt, a tag or a foreign manifest holds, so each format escapes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa
import pyarrow.csv as arrow_csv

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "–": "--",
    "−": "$-$",
    "…": r"\ldots{}",
    "·": r"$\cdot$",
}


@dataclass(frozen=True)
class Table:
    """A table for people and for machines.

    Attributes:
        name: Of its files.
        title: Its caption.
        full: All rows and columns, numbers as numbers.
        shown: What is printed, cells as text.
        notes: What must be known to read it: how runs were measured, what is missing.
    """

    name: str
    title: str
    full: pd.DataFrame
    shown: pd.DataFrame
    notes: Sequence[str] = ()

    @property
    def cells(self) -> list[list[str]]:
        """What is printed, row by row; "" where there is nothing."""
        rows = self.shown.to_numpy()
        return [["" if pd.isna(cell) else str(cell) for cell in row] for row in rows]


def csv(table: Table) -> str:
    """The full table as CSV; numbers in as many digits as bring them back exactly."""
    # Arrow writes the hundred thousand rows of a long curve ten times faster than pandas.
    buffer = pa.BufferOutputStream()
    options = arrow_csv.WriteOptions(quoting_style="needed")
    arrow_csv.write_csv(pa.Table.from_pandas(table.full, preserve_index=False), buffer, options)
    return str(buffer.getvalue().to_pybytes().decode())


def markdown(table: Table) -> str:
    """The printed table as Markdown, with its caption above and its notes below."""
    columns = [_markdown(name) for name in table.shown.columns]
    lines = [f"**{_markdown(table.title)}**", "", _row(columns), _row(["---"] * len(columns))]
    lines += [_row([_markdown(cell) for cell in row]) for row in table.cells]
    lines += [""] + [f"- {_markdown(note)}" for note in table.notes]
    return "\n".join(lines).rstrip() + "\n"


def latex(table: Table) -> str:
    """The printed table as a LaTeX `table` with booktabs rules, notes under it."""
    columns = list(table.shown.columns)
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_latex(table.title)}}}",
        rf"\label{{tab:{re.sub(r'[^a-z-]', '-', table.name)}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(columns) - 1)}}}",
        r"\toprule",
        " & ".join(_latex(name) for name in columns) + r" \\",
        r"\midrule",
        *(" & ".join(_latex(cell) for cell in row) + r" \\" for row in table.cells),
        r"\bottomrule",
        r"\end{tabular}",
        *(rf"\par\footnotesize {_latex(note)}" for note in table.notes),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown(text: object) -> str:
    flat = re.sub(r"[\x00-\x1f\x7f]+", " ", str(text)).strip()
    flat = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|!$])", r"\\\1", flat)


def _latex(text: object) -> str:
    flat = re.sub(r"[\x00-\x1f\x7f]+", " ", str(text)).strip()
    return "".join(_LATEX.get(letter, letter) for letter in flat)
