"""The page, notes and figures of a report, held against its checked tables and the log."""

from __future__ import annotations

import base64
import contextlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import pandas as pd

from harness.analysis.findings import Findings
from harness.audit.result import Problems
from harness.price import UNPRICED, Price
from harness.report import answer, chart, contents, tables
from harness.report.build import PUBLISHED_ON_MINIATURE, ends
from harness.report.style import themed
from harness.report.tables import Table

_MAKERS = {"results": contents.results, "gap": contents.gaps, "curves": contents.curves}
_FIGURES = re.compile(r"data:image/svg\+xml(;base64)?,(.*)", re.DOTALL)


class _Page(HTMLParser):
    """Tables, notes and figures of a page. Has state: what was read so far.

    Attributes:
        tables: By caption: rows of cells, the heads first.
        notes: Every item of a list of notes, and every warning.
        figures: Source and alternative text of every figure.
        chart: What the chart at its head draws, or None where there is none.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.notes: list[str] = []
        self.figures: list[tuple[str, str]] = []
        self.chart: Any = None
        self._text: list[str] | None = None
        self._rows: list[list[str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin to listen where something counts."""
        known = dict(attrs)
        if tag == "table":
            self._rows = []
        elif tag == "tr":
            self._rows.append([])
        elif tag == "img" and "width" in known:
            self.figures.append((known.get("src") or "", known.get("alt") or ""))
        elif "data-chart" in known:
            with contextlib.suppress(ValueError):
                self.chart = json.loads(known["data-chart"] or "")
        if tag in ("td", "th", "caption", "li") or known.get("class") == "warning":
            self._text = []

    def handle_data(self, data: str) -> None:
        """Take the words in."""
        if self._text is not None:
            self._text.append(data)

    def handle_endtag(self, tag: str) -> None:
        """Put what was read where it belongs."""
        if self._text is None:
            return
        text = "".join(self._text)
        if tag in ("td", "th"):
            self._rows[-1].append(text)
        elif tag == "caption":
            self.tables[text] = self._rows
        elif tag in ("li", "p"):
            self.notes.append(text.removeprefix("Note: "))
        elif tag != "table":
            return
        self._text = None


def page_mismatches(
    folder: Path, frames: dict[str, pd.DataFrame], findings: Findings, problems: Problems
) -> list[str]:
    """Hold a report's page, Markdown, LaTeX and figures against its tables.

    Returns:
        What was looked at.
    """
    page = _read(folder / "index.html")
    extra = [PUBLISHED_ON_MINIATURE] if page and PUBLISHED_ON_MINIATURE in _Page(page).notes else []
    notes = [*findings.captions, *findings.warnings, *extra]
    made = [_MAKERS[name](_typed(frame), notes) for name, frame in frames.items()]
    files = 0
    for table in made:
        for suffix, write in (("md", tables.markdown), ("tex", tables.latex)):
            text = _read(folder / "tables" / f"{table.name}.{suffix}")
            if text is None:
                continue
            files += 1
            if text != write(table):
                problems.add(f"{table.name}.{suffix} does not say what {table.name}.csv does")
    evidence = [f"{files} Markdown and LaTeX files say what the CSV files do"]
    if page is None:
        return [*evidence, "there is no page"]
    before = problems.count
    opened = _Page(page)
    if not _has_answer(opened):
        evidence.append(
            "the page's answer and chart are not of this version and were NOT held to the log; "
            "make the report anew to have them checked"
        )
    for problem in _on_page(opened, made, findings, frames["curves"], folder):
        problems.add(problem)
    if problems.count == before:
        evidence.append(
            "the page's tables and notes follow from the CSV files; its figures are the files "
            "beside it; drawn lines and gallery are not measured"
        )
    return evidence


def _on_page(
    page: _Page, made: Sequence[Table], findings: Findings, curves: pd.DataFrame, folder: Path
) -> Iterator[str]:
    for table in made:
        yield from _in_table(page, table, f"{table.name}.csv")
    sentences = [*findings.captions, *findings.warnings]
    if _has_answer(page):
        if (price := _price(page.chart["price"])) != findings.price:
            findings = replace(findings, price=price)
        drawn = json.loads(json.dumps(chart.chart(findings)))
        for axis in drawn["axes"]:
            yield from _in_table(page, answer.overview(findings, axis), "the log")
        sentences += [*answer.sentences(findings), *answer.reasons(findings)]
        if page.chart != drawn:
            yield "index.html: the chart does not hold the curves of the log"
    for sentence in sentences:
        if sentence not in page.notes:
            yield f"index.html does not say: {sentence}"
    shown = ends(curves.assign(run="")).get("", "")  # whatever the one run is called there
    files = {path.read_bytes() for path in (folder / "figures").glob("*.svg")}
    files |= {themed(data.decode(errors="replace")).encode() for data in files}
    for source, words in page.figures:
        if shown not in words:
            yield f"index.html: a figure is not said to show {shown}"
        match = _FIGURES.fullmatch(source)
        data = b""
        with contextlib.suppress(ValueError):  # of a broken encoding
            if match is not None:  # figures were in base64 once
                data = base64.b64decode(match[2]) if match[1] else unquote_to_bytes(match[2])
        if data not in files:
            yield "index.html: a figure is none of the files in figures/"


def _has_answer(page: _Page) -> bool:
    """Return whether a page opens with the answer, on every axis of cost: older ones do not."""
    return isinstance(page.chart, dict) and "price" in page.chart


def _price(prices: Any) -> Price:
    """Return the prices that a page says it was made with; none where it says no numbers."""
    if not isinstance(prices, list) or len(prices) != 2:
        return UNPRICED
    return Price(*(n if isinstance(n, int | float) else None for n in prices))


def _in_table(page: _Page, table: Table, source: str) -> Iterator[str]:
    rows = [[str(name) for name in table.shown.columns], *table.cells]
    shown = page.tables.get(table.title)
    if shown is None:
        yield f"index.html has no table '{table.title}'"
    elif [row for row in shown if row] != rows:
        yield f"index.html: the table '{table.title}' does not say what {source} does"


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    """A table as it was before it became a file: text where nothing but digits stood."""
    texts = [name for name in ("run", "seeds", "selector", "basis", "method") if name in frame]
    return frame.assign(**{name: frame[name].fillna("").astype(str) for name in texts})


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return None
