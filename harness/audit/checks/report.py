"""Claim: every number of the run's report is one that its log gives.

`results.csv`, `curves.csv` and `gap.csv` are computed anew from the log, by the report's own
analysis, and compared cell by cell: scores, costs, counts, intervals from the same seeded
resamples. What people read is then tied to these tables: the cells of the page's tables, the
Markdown and the LaTeX must be what the report's own wording makes of the checked numbers, the
page's notes what it says of the log, its figures the files beside it, and the numbers told with a
figure those of the curves. The curves' drawn lines and the gallery are not measured.

That the analysis itself is right is tested against a second implementation of it, over logs made
at random (`tests/reference`).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from harness.analysis.findings import analyse
from harness.audit.audited_run import AuditedRun
from harness.audit.checks.report_page import page_mismatches
from harness.audit.result import CannotCheck, Problems, Result, checkable, concluded, count
from harness.log.location import local
from harness.runs.logged_run import PADDED

ENDS = 2e-3
"""Largest difference of an interval's end. The report keeps resampled means in single precision, so
that on another machine one may fall on the other side of the mean; the largest difference seen is
0.001."""

KEYS = {
    "results": ["kind", "tag"],
    "gap": ["kind", "tag", "budget"],
    "curves": ["selector", "basis", "kind", "tag", "budget"],
}
"""The tables of one run's report, and what names a row."""

Frames = dict[str, pd.DataFrame]
Cells = Mapping[Hashable, Any]


def check(run: AuditedRun) -> Result:
    """Compute the report's tables anew, and hold what people read against them."""
    if run.config.scorer is None:
        raise CannotCheck("a run without a scorer has no report")
    folder = Path(run.options.report or local(run.folder.path) / "report")
    if run.options.report is None and not (folder / "tables").is_dir():
        raise CannotCheck("no report is in the run's folder (--report names one elsewhere)")
    problems = Problems()
    seed = run.options.report_seed
    evidence = [f"intervals of the bootstrap's seed {seed}"]
    stored = _tables(folder, problems)
    if problems:
        return concluded(str(folder), problems, evidence)
    if (stored["curves"]["basis"] == "replay").any():
        _ = run.strategy  # cannot be checked without it
    with checkable():
        findings = analyse([run.folder.path], seed=seed)
    anew = {"results": findings.results, "curves": findings.scaling, "gap": findings.gaps}
    cells = sum(_compare(name, stored[name], anew[name], problems) for name in anew)
    evidence += page_mismatches(folder, stored, findings, problems)
    return concluded(f"{count(cells, 'number')} of {folder}", problems, evidence)


def _tables(folder: Path, problems: Problems) -> Frames:
    """The tables of a report; that one is not there, or is no table, is a problem."""
    frames: Frames = {}
    for name in KEYS:
        path = folder / "tables" / f"{name}.csv"
        try:
            frames[name] = pd.read_csv(path, keep_default_na=False, na_values=["", "nan"])
        except (OSError, ValueError) as error:
            problems.add(f"{path} cannot be read: {error}")
            continue
        missing = {"run", *KEYS[name]} - set(frames[name].columns)
        if missing:
            problems.add(f"{path} has no column {', '.join(sorted(missing))}")
            continue
        frames[name]["tag"] = frames[name]["tag"].fillna("").astype(str)
        if frames[name]["run"].nunique() > 1:
            raise CannotCheck(f"{folder} is about several runs; give the report of this one alone")
    return frames


def _compare(name: str, stored: pd.DataFrame, anew: pd.DataFrame, problems: Problems) -> int:
    """Compare a table with the one computed anew; return the number of its cells."""
    expected = dict(_rows(name, anew))
    present = set()
    cells = 0
    for key, row in _rows(name, stored):
        where = f"{name}.csv, {' '.join(str(part) for part in key if part != '')}"
        if key not in expected or key in present:
            problems.add(
                f"{where}: {'twice there' if key in present else 'no such row in the log'}"
            )
            continue
        present.add(key)
        cells += len(row)
        problems.extend(where, _differences(row, expected[key]))
    for key in expected.keys() - present:
        problems.add(f"{name}.csv lacks {' '.join(str(part) for part in key if part != '')}")
    return cells


def _rows(name: str, frame: pd.DataFrame) -> Iterator[tuple[tuple[Any, ...], Cells]]:
    """Yield what names each row of a table, and its other cells."""
    for row in frame.to_dict("records"):
        key = tuple(row[column] for column in KEYS[name])
        yield key, {k: v for k, v in row.items() if k not in (*KEYS[name], "run")}


def _differences(stored: Cells, anew: Cells) -> Iterator[str]:
    # Reports did not always have the column of padding.
    yield from (f"no {column}" for column in anew.keys() - stored.keys() - {PADDED})
    for column, value in stored.items():
        if column not in anew:
            yield f"'{column}' is no column that a log gives"
        elif not _same(value, anew[column], ENDS if column in ("low", "high") else 1e-9):
            yield f"{column} is {_shown(anew[column])}, not {_shown(value)}"


def _same(stored: Any, anew: Any, tolerance: float) -> bool:
    if isinstance(anew, str):
        return anew == ("" if pd.isna(stored) else str(stored))
    try:
        number = float(stored)
    except (TypeError, ValueError):
        return False
    if math.isnan(anew):
        return math.isnan(number)
    return math.isclose(number, anew, rel_tol=1e-9, abs_tol=tolerance)


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
