"""Failures by kind, on the first image of a search and on the one that it selects.

What kinds there are is the benchmark's affair (`Benchmark.failure_kinds`): GenEval's are missing
objects, counts, colors and positions, those of benchmarks that ask questions are skills.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from benchmarks.base import Benchmark
from harness.analysis.logged_run import LoggedRun
from harness.analysis.resampling import Floats
from harness.analysis.skills import scoring_benchmark
from harness.analysis.statistics import measure_interval
from harness.engine.rows import logged_score
from harness.log import store
from harness.log.run_folder import RunFolder
from harness.log.schema import KEYS, SCORE
from harness.records import Score

COLUMNS = ("run", "kind", "feedback", "before", "after", "difference", "low", "high", "interval",
           "searches", "prompts")  # fmt: skip


def failures_table(
    runs: Sequence[LoggedRun], names: Sequence[str], *, seed: int = 0
) -> pd.DataFrame:
    """Hold the failures of first images against those of selected ones.

    Only searches that drew again are counted, of runs that give feedback those that gave any: what
    was right at once says nothing about reflection.

    Args:
        runs: The runs.
        names: What to call each.
        seed: Of the bootstrap over prompts.

    Returns:
        One row a run and kind, the most frequent first: `run`, `kind`, `feedback` (whether the run
        gives any), `before` and `after` (shares of first and of selected images that fail by this
        kind, means over prompts), `difference` with `low`, `high` and `interval` (its method, ""
        where there is none), `searches` and `prompts` that these are over.
    """
    rows = [row for run, name in zip(runs, names, strict=True) for row in _rows(run, name, seed)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _rows(run: LoggedRun, name: str, seed: int) -> Iterator[dict[str, Any]]:
    selected = run.searches["selected"].to_numpy()
    drew_again = run.with_feedback.any(axis=1) if run.with_feedback.any() else _width(run) > 1
    place = np.arange(len(selected))
    known = run.scored & run.answered
    counted = drew_again & (selected >= 0) & known[:, 0] & known[place, np.maximum(selected, 0)]
    if not counted.any():
        return
    table = []
    for kind, failing in failing_draws(run).items():
        before, after = (
            run.scores_by_prompt(np.where(counted, failing[place, column], np.nan))
            for column in (np.zeros_like(selected), np.maximum(selected, 0))
        )
        there = np.isfinite(before)
        change = measure_interval((after - before)[there].tolist(), seed=seed)
        table.append(
            (
                name, kind, bool(run.with_feedback.any()), float(before[there].mean()),
                float(after[there].mean()), change.value, change.low, change.high, change.method,
                int(counted.sum()), int(there.sum()),
            )
        )  # fmt: skip
    for row in sorted(table, key=lambda row: (-row[3], row[1])):
        yield dict(zip(COLUMNS, row, strict=True))


def _width(run: LoggedRun) -> Any:
    return (run.index >= 0).sum(axis=1)


def failing_draws(run: LoggedRun) -> Mapping[str, Floats]:
    """Return which draws fail, by kind of failure, (S, N); empty where the benchmark says none."""
    failing: dict[str, Floats] = {}
    for number, part in enumerate(run.parts):
        benchmark = scoring_benchmark(part)
        if benchmark is None:
            return {}
        columns = [*KEYS["candidates"], "reason", "answers"]  # detections are most of a log
        table = store.read(part.folder.log, "candidates", columns)
        search, column = run.place(number, table)
        for row, kinds in enumerate(_kinds(benchmark, table, part.folder)):
            if search[row] >= 0:
                for kind in kinds:
                    of_kind = failing.setdefault(kind, np.zeros(run.index.shape))
                    of_kind[search[row], column[row]] = 1.0
    return failing


def _kinds(benchmark: Benchmark, table: pa.Table, folder: RunFolder) -> Iterator[Sequence[str]]:
    """Yield each row's kinds of failures."""
    if table["answers"].null_count < len(table):
        for row in store.read(folder.log, "candidates", SCORE).to_pylist():
            score = logged_score(row)
            yield benchmark.failure_kinds(score) if score is not None else ()
        return
    of_reason: dict[str | None, Sequence[str]] = {None: (), "": ()}
    for reason in table["reason"].to_pylist():
        if reason not in of_reason:
            of_reason[reason] = benchmark.failure_kinds(Score(0.0, False, reason))
        yield of_reason[reason]
