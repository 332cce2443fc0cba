"""Claim: the report's numbers are those of the log.

Scores, counts and costs of `tables/results.csv` are recomputed from the log in plain Python,
without the code that the report was made with. Without a report in the run's folder the table
that one would hold is checked instead. Intervals are bootstrap figures and are only held against
their scores: an interval has to contain its score.
"""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import pandas as pd

from harness.analysis.logged_run import load_run
from harness.analysis.run_table import runs_table
from harness.audit.result import CannotCheck, Problems, Result, concluded, count
from harness.audit.subject import Row, Subject
from harness.errors import HarnessError
from harness.log.schema import ROLES

NAME = "report"

SUFFIXES = {"": ROLES, "_search": ("generator", "judge"), "_generator": ("generator",)}
UNITS = {"nfe": ("nfe", 1.0), "tflops": ("flops", 1e12), "device_seconds": ("device_seconds", 1.0)}

_COLUMNS = ["tag", "correct", "error_role"] + [
    f"{role}_{unit}" for role in ROLES for unit, _ in UNITS.values()
]


def check(subject: Subject) -> Result:
    """Recompute the results table."""
    if subject.config.scorer is None:
        raise CannotCheck("a run without a scorer has no report")
    table, looked = _table(subject)
    own = table[table["run"] == table["run"].iloc[0]]
    problems = Problems()
    if table["run"].nunique() > 1:
        raise CannotCheck(f"{looked} is about several runs; give the report of this one alone")
    numbers = 0
    expected = recomputed(subject)
    seen = set()
    for said in own.to_dict("records"):
        group = (str(said["kind"]), "" if pd.isna(said["tag"]) else str(said["tag"]))
        seen.add(group)
        if group not in expected:
            problems.add(f"the log has no group {group}")
            continue
        for name, value in expected[group].items():
            numbers += 1
            found = said.get(name)
            if found is None or not math.isclose(float(found), value, rel_tol=1e-9, abs_tol=1e-9):
                problems.add(f"{name} of {' '.join(group).strip()} is {value:.6g}, not {found}")
        if not said["low"] - 1e-6 <= said["score"] <= said["high"] + 1e-6:
            problems.add(f"the interval of {group} does not hold its score")
    for group in expected.keys() - seen:
        problems.add(f"{' '.join(group).strip()} is missing")
    return concluded(NAME, f"{count(numbers, 'number')} of {looked}", problems)


def _table(subject: Subject) -> tuple[pd.DataFrame, str]:
    folder = subject.options.report or subject.folder.path / "report"
    path = Path(folder) / "tables" / "results.csv"
    try:
        if path.is_file():
            return pd.read_csv(path, keep_default_na=False, na_values=["", "nan"]), str(path)
        if subject.options.report is not None:
            raise CannotCheck(f"{path} does not exist")
        run = load_run(subject.folder.path)
        return runs_table([run], ["this run"]), "the table that a report would hold"
    except HarnessError as error:
        raise CannotCheck(error.message) from error


def recomputed(subject: Subject) -> dict[tuple[str, str], dict[str, float]]:
    """Every number of the table by kind and tag, from the log alone."""
    searches: defaultdict[str, list[dict[str, float]]] = defaultdict(list)
    tags: dict[str, str] = {}
    lost = failed = 0
    for key, search in subject.searches.items():
        lost += search["selected_index"] is None
        searches[key.prompt_id] += []
        tags.setdefault(key.prompt_id, "")
    for key, rows in subject.by_search(_COLUMNS):
        if key not in subject.searches:
            continue
        tags[key.prompt_id] = rows[0]["tag"]
        chosen = subject.searches[key]["selected_index"]
        failed += sum(row["error_role"] is not None for row in rows)
        right = any(row["correct"] for row in rows if row["draw_index"] == chosen)
        searches[key.prompt_id].append({"score": float(right), "draws": len(rows), **_spent(rows)})
    means = {
        prompt: {name: math.fsum(s[name] for s in of) / len(of) for name in of[0]}
        for prompt, of in searches.items()
        if of
    }
    groups: dict[str, list[dict[str, float]]] = defaultdict(list)
    for prompt, mean in means.items():
        groups[tags[prompt]].append(mean)
    counts = {
        "searches": float(len(subject.searches)),
        "searches_failed": float(lost),
        "draws_failed": float(failed),
        "images_per_prompt": float(subject.config.replicates),
    }
    by_tag = {tag: _mean(of) for tag, of in groups.items()}
    found = {
        ("micro", ""): _mean(list(means.values())) | {"prompts": float(len(means))},
        ("macro", ""): _mean(list(by_tag.values())) | {"prompts": float(len(means))},
    }
    if len(groups) > 1:
        for tag, mean in by_tag.items():
            found["tag", tag] = mean | {"prompts": float(len(groups[tag]))}
    return {group: numbers | counts for group, numbers in found.items()}


def _mean(of: list[dict[str, float]]) -> dict[str, float]:
    return {name: math.fsum(one[name] for one in of) / len(of) for name in of[0]}


def _spent(rows: list[Row]) -> dict[str, Any]:
    return {
        axis + suffix: math.fsum(row[f"{role}_{unit}"] or 0 for row in rows for role in roles)
        / scale
        for suffix, roles in SUFFIXES.items()
        for axis, (unit, scale) in UNITS.items()
    }
