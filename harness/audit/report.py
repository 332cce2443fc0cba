"""Claim: every number of the run's report is one that its log gives.

`results.csv`, `curves.csv` and `gap.csv` are computed anew from the log by a path of their own
(`harness.audit.recount`), cell by cell: scores, costs, counts, intervals from the same seeded
resamples. What people read is then tied to these tables: the cells of the page's tables, the
Markdown and the LaTeX must be what the report's own wording makes of the checked numbers, the
page's notes what it says of the log, its figures the files beside it, and the numbers told with a
figure those of the curves. The curves' drawn lines and the gallery are not measured.

Without a report in the run's folder the table of results is checked that one would hold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from harness.analysis.findings import analyse
from harness.analysis.loading import load_run
from harness.analysis.replay import budget_grid
from harness.analysis.run_table import runs_table
from harness.audit.recount.counted import PADDED
from harness.audit.recount.tables import Cells, Recount, Rows
from harness.audit.recount.wording import misworded
from harness.audit.result import CannotCheck, Problems, Result, concluded, count
from harness.audit.subject import Subject
from harness.errors import HarnessError
from harness.log.location import local

NAME = "report"

ENDS = 2e-3
"""Largest difference of an interval's end. The report keeps resampled means in single precision, so
that one may fall on the other side of the mean; the largest difference seen is 0.001."""

KEYS = {
    "results": ["kind", "tag"],
    "gap": ["kind", "tag", "budget"],
    "curves": ["selector", "basis", "kind", "tag", "budget"],
}
"""The tables of one run's report, and what names a row."""

Frames = dict[str, pd.DataFrame]


def check(subject: Subject) -> Result:
    """Compute the report's tables anew, and hold what people read against them."""
    if subject.config.scorer is None:
        raise CannotCheck("a run without a scorer has no report")
    folder = Path(subject.options.report or local(subject.folder.path) / "report")
    problems = Problems()
    seed = subject.options.report_seed
    evidence = [f"intervals of the bootstrap's seed {seed}"]
    try:
        if subject.options.report is None and not (folder / "tables").is_dir():
            looked = "the results that a report would hold"
            results = runs_table([load_run(subject.folder.path)], ["this run"], seed=seed)
            numbers = _compare("results", results, Recount(subject).results(), problems)
            return concluded(NAME, f"{count(numbers, 'number')} of {looked}", problems, evidence)
        frames = _tables(folder, problems)
        if problems:
            return concluded(NAME, str(folder), problems, evidence)
        found = analyse([subject.folder.path], seed=seed)
    except HarnessError as error:
        raise CannotCheck(error.message) from error
    if (frames["curves"]["basis"] == "replay").any():
        _ = subject.strategy  # cannot be checked without it
    again = Recount(subject, budget_grid(subject.config.budget))
    numbers = _compare("results", frames["results"], again.results(), problems)
    numbers += _compare("curves", frames["curves"], again.curves(), problems)
    numbers += _compare("gap", frames["gap"], again.gap(), problems)
    evidence += misworded(folder, frames, found, problems)
    return concluded(NAME, f"{count(numbers, 'number')} of {folder}", problems, evidence)


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
        lacking = {"run", *KEYS[name]} - set(frames[name].columns)
        if lacking:
            problems.add(f"{path} has no column {', '.join(sorted(lacking))}")
            continue
        frames[name]["tag"] = frames[name]["tag"].fillna("").astype(str)
        if frames[name]["run"].nunique() > 1:
            raise CannotCheck(f"{folder} is about several runs; give the report of this one alone")
    return frames


def _compare(name: str, frame: pd.DataFrame, expected: Rows, problems: Problems) -> int:
    """Hold a table against the one computed anew; returns how many cells there were."""
    keys = KEYS[name]
    seen = set()
    cells = 0
    for said in frame.to_dict("records"):
        key = tuple(said.get(column) for column in keys)
        where = f"{name}.csv, {' '.join(str(part) for part in key if part != '')}"
        if key not in expected or key in seen:
            problems.add(f"{where}: {'twice there' if key in seen else 'no such row in the log'}")
            continue
        seen.add(key)
        told = {str(k): v for k, v in said.items() if k not in (*keys, "run")}
        cells += len(told)
        for problem in _unlike(told, expected[key]):
            problems.add(f"{where}: {problem}")
    for key in expected.keys() - seen:
        problems.add(f"{name}.csv lacks {' '.join(str(part) for part in key if part != '')}")
    return cells


def _unlike(said: Cells, expected: Cells) -> Sequence[str]:
    found = [f"no {column}" for column in expected.keys() - said.keys() - {PADDED}]
    for column, value in said.items():
        if column not in expected:
            found.append(f"'{column}' is no column that a log gives")
        elif not _same(value, expected[column], ENDS if column in ("low", "high") else 1e-9):
            found.append(f"{column} is {_shown(expected[column])}, not {_shown(value)}")
    return found


def _same(said: Any, expected: Any, tolerance: float) -> bool:
    if isinstance(expected, str):
        return expected == ("" if pd.isna(said) else str(said))
    try:
        told = float(said)
    except (TypeError, ValueError):
        return False
    if math.isnan(expected):
        return math.isnan(told)
    return math.isclose(told, expected, rel_tol=1e-9, abs_tol=tolerance)


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
