"""What scores rest on: answers by skill, failures by kind, DPG-Bench's two programs.

A prompt has one tag and questions of several skills, so means by skill are over questions, not over
prompts. What a question adds (`Benchmark.by_skill`) and what kinds of failures there are
(`Benchmark.failure_kinds`) is the benchmark's affair: GenEval's are missing objects, counts, colors
and positions, those of benchmarks that ask questions are skills.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from benchmarks.base import Benchmark, Scored
from harness.analysis.curves import AXES, RunCurves
from harness.analysis.ledger import LEDGER
from harness.config import RECORDED_SCORER, read_config
from harness.engine.rows import logged_score
from harness.errors import HarnessError
from harness.log import store
from harness.log.manifest import Manifest
from harness.log.run_folder import RunFolder
from harness.log.schema import KEYS, SCORE
from harness.prompts import benchmark_of, read_prompts
from harness.records import Score
from harness.runs.logged_run import LoggedRun, Part
from harness.statistics.intervals import LEVEL, Floats, Ints, measure_interval, resampled_means

SKILLS = ["run", "kind", "tag", "budget", "score", "low", "high", "method", "questions",
          "prompts", *AXES]  # fmt: skip
FAILURES = ["run", "kind", "feedback", "before", "after", "difference", "low", "high", "interval",
            "searches", "prompts"]  # fmt: skip
DPG = ["run", "measure", "official", "patched", "difference", "items", "official_items",
       "lost_rows", "replaced_items", "lost_items"]  # fmt: skip


def by_skill(folder: RunFolder, manifest: Manifest, *, selected: bool) -> dict[str, list[float]]:
    """Return the grades of all questions by skill over a run's scored images; none without any.

    Args:
        folder: The run's folder.
        manifest: Its manifest.
        selected: Of the images that its searches selected; else of all.

    Raises:
        HarnessError: The log is damaged.
    """
    part = Part(folder, manifest)
    benchmark = _asking_benchmark(part)
    if benchmark is None:
        return {}
    grades: defaultdict[str, list[float]] = defaultdict(list)
    rows = selected_rows(folder) if selected else _scores(folder).to_pylist()
    for _, skills in _graded_rows(benchmark, part, rows):
        for skill, grade in skills:
            grades[skill].append(grade)
    return grades


def skills_line(folder: RunFolder, manifest: Manifest, *, selected: bool) -> list[str]:
    """Return the line about skills, as `by_skill`, beside a run's scores, if there are any."""
    grades = by_skill(folder, manifest, selected=selected)
    means = [f"{name} {sum(of) / len(of):.3f} of {len(of)}" for name, of in grades.items()]
    return [f"skills    {', '.join(means)}"] if means else []


def scoring_benchmark(part: Part) -> Benchmark | None:
    """Return the benchmark whose scorer graded a run; None if nobody knows, or it is not here."""
    config = read_config(part.manifest.config)
    if config.scorer is None or config.scorer.kind == RECORDED_SCORER:
        return None
    try:
        return benchmark_of(config)
    except HarnessError:
        return None


def _asking_benchmark(part: Part) -> Benchmark | None:
    benchmark = scoring_benchmark(part)
    asks = benchmark is not None and type(benchmark).by_skill is not Benchmark.by_skill
    return benchmark if asks else None


def _graded_rows(
    benchmark: Benchmark, part: Part, rows: Iterable[Mapping[str, Any]]
) -> Iterator[tuple[int, Sequence[tuple[str, float]]]]:
    """Yield the place of each scored row and its grades by skill.

    Where the prompts or settings are not to be had there are none: the scores stand without them.
    """
    config = read_config(part.manifest.config)
    try:
        settings = benchmark.scorer_settings(config.scorer.settings if config.scorer else {})
        prompts = {prompt.id: prompt for prompt in read_prompts(part.folder, part.manifest)}
    except HarnessError:
        return
    for place, row in enumerate(rows):
        score = logged_score(row)
        if score is not None and row["prompt_id"] in prompts:
            yield place, benchmark.by_skill(prompts[row["prompt_id"]], score.evidence, settings)


def skill_table(
    curves: Sequence[RunCurves], names: Sequence[str], *, seed: int = 0
) -> pd.DataFrame:
    """Score by skill at every budget and its cost, of runs over benchmarks that ask questions.

    Returns:
        One row a run, skill and budget of the run's own curve: `run`, `kind` ("skill"), `tag` (the
        skill), `budget`, `score` (mean over questions, as the official analysis of GenEval 2 takes
        it), `low`, `high`, `method` (percentiles over resampled prompts), `questions` (about one
        image of each prompt), `prompts`, and the mean cost of an image on each axis of
        `harness.analysis.ledger.LEDGER` that the curve has.
    """
    parts = [
        part
        for of, name in zip(curves, names, strict=True)
        for part in _skill_curves(of, name, seed)
    ]
    if parts:
        return pd.concat(parts, ignore_index=True)
    return pd.DataFrame(columns=SKILLS)


def _skill_curves(of: RunCurves, name: str, seed: int) -> Iterator[pd.DataFrame]:
    for skill, (totals, counts) in question_grades(of.run).items():
        asked = counts > 0
        scores = of.regraded(np.where(asked, totals / np.maximum(counts, 1), np.nan))
        weights = of.run.scores_by_prompt(np.where(asked.any(axis=1), counts.max(axis=1), np.nan))
        known = np.isfinite(scores).any(axis=1)
        if not known.any():
            continue
        weight = weights[known, None]
        bands = [_weighted(column[:, None], weight, seed) for column in scores[known].T]
        yield pd.DataFrame(
            {
                "run": name,
                "kind": "skill",
                "tag": skill,
                "budget": of.own.budgets,
                **dict(zip(("score", "low", "high"), np.array(bands).T, strict=True)),
                "method": "percentile bootstrap",
                "questions": int(weight.sum()),
                "prompts": int(known.sum()),
                **{axis: costs[0] for axis, costs in of.own.costs.items() if axis in LEDGER},
            }
        )


def _weighted(scores: Floats, weights: Floats, seed: int) -> tuple[float, float, float]:
    """Return the mean over questions with its interval; (P, 1) each, NaN where unknown."""
    known = np.isfinite(scores[:, 0])
    if not known.any():
        return (float("nan"),) * 3
    pairs = np.hstack([scores[known] * weights[known], weights[known]])
    total, weight = pairs.sum(axis=0)
    resampled = resampled_means(pairs, seed).astype(float)
    tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    low, high = np.quantile(resampled[0] / resampled[1], tails)
    return float(total / weight), float(low), float(high)


def question_grades(run: LoggedRun) -> dict[str, tuple[Floats, Floats]]:
    """Return, by skill, the sum of each draw's grades and the number of questions, (S, N) each."""
    grades: dict[str, tuple[Floats, Floats]] = {}
    for number, part in enumerate(run.parts):
        benchmark = _asking_benchmark(part)
        if benchmark is None:
            return {}
        table = _scores(part.folder)
        search, column = _places(run, number, table)
        for row, skills in _graded_rows(benchmark, part, table.to_pylist()):
            if search[row] < 0:
                continue
            for skill, grade in skills:
                shape = run.index.shape
                totals, counts = grades.setdefault(skill, (np.zeros(shape), np.zeros(shape)))
                totals[search[row], column[row]] += grade
                counts[search[row], column[row]] += 1
    return grades


def _scores(folder: RunFolder) -> pa.Table:
    return store.read(folder.log, "candidates", [*KEYS["candidates"], *SCORE])


def _places(run: LoggedRun, part: int, table: pa.Table) -> tuple[Ints, Ints]:
    """Return the place of each row of a part's log among a run's arrays: its search and column.

    Args:
        run: The run.
        part: Number of the part in `run.parts`.
        table: Rows of its candidates, with the columns that name a draw.

    Returns:
        Both -1 for draws of searches that have not ended.
    """
    rows = np.flatnonzero(run.searches["part"].to_numpy() == part)
    prompts = run.prompts["prompt_id"].to_numpy()[run.searches["prompt"].to_numpy()[rows]]
    keys = pd.MultiIndex.from_arrays([prompts, run.searches["replicate"].to_numpy()[rows]])
    prompt_id, replicate, index = (table[name].to_numpy() for name in KEYS["candidates"])
    ended = keys.get_indexer(pd.MultiIndex.from_arrays([prompt_id, replicate]))
    search = np.where(ended >= 0, rows[ended], -1)
    hits = (run.index[search] == index[:, None]) & (search >= 0)[:, None]
    drawn = hits.any(axis=1)
    return np.where(drawn, search, -1), np.where(drawn, hits.argmax(axis=1), -1)


def selected_rows(folder: RunFolder) -> Iterable[Mapping[str, Any]]:
    """Return the scores of the images that a run's searches selected, as logged."""
    names = ["prompt_id", "replicate", "selected_index"]
    searches = store.read(folder.log, "searches", names).to_pylist()
    chosen = {tuple(row[name] for name in names) for row in searches}
    table = _scores(folder)
    keys = zip(*(table[name].to_pylist() for name in KEYS["candidates"]), strict=True)
    rows: list[dict[str, Any]] = table.filter(
        pa.array([key in chosen for key in keys], pa.bool_())
    ).to_pylist()
    return rows


def dpg_table(runs: Sequence[LoggedRun], names: Sequence[str]) -> pd.DataFrame:
    """Compute both variants of runs over DPG-Bench whose logs answer every question.

    Returns:
        One row a run and measure ("score", then categories, times 100 as published): `run`,
        `measure`, `official`, `patched`, `difference` (patched minus official), `items` and
        `official_items` (files with a score in each, an image or a grid of four), `lost_rows`
        (rows of questions that the official program does not read), `replaced_items` (whose rows
        are not together, so that later ones replace the earlier), `lost_items` (files that it
        leaves out of its means in silence). No rows of a run of the variant "official", which did
        not ask the lost question, or where the file of questions is not here.
    """
    rows = [row for run, name in zip(runs, names, strict=True) for row in _variant_rows(run, name)]
    return pd.DataFrame(rows, columns=DPG)


def _variant_rows(run: LoggedRun, name: str) -> Iterator[dict[str, Any]]:
    benchmark = scoring_benchmark(run.parts[0])
    if benchmark is None or type(benchmark).variants is Benchmark.variants:
        return
    try:
        prompts = {prompt.id: prompt for prompt in read_prompts(run.folder, run.manifest)}
        scored = [
            Scored(prompts[row["prompt_id"]], row["replicate"], "", logged_score(row))
            for part in run.parts
            for row in selected_rows(part.folder)
            if row["prompt_id"] in prompts
        ]
        variants = benchmark.variants(scored)
    except HarnessError:  # the file of questions is not here
        return
    for each in variants:
        known = each.official is not None and each.patched is not None
        gap = each.patched - each.official if known else None  # type: ignore[operator]
        numbers = {"official": each.official, "patched": each.patched, "difference": gap}
        yield {"run": name, "measure": each.measure, **numbers, **each.counts}


def failures_table(
    runs: Sequence[LoggedRun], names: Sequence[str], *, seed: int = 0
) -> pd.DataFrame:
    """Hold the failures of first images against those of selected ones.

    Only searches that drew again are counted, of runs that give feedback those that gave any: what
    was right at once says nothing about reflection.

    Returns:
        One row a run and kind, the most frequent first: `run`, `kind`, `feedback` (whether the run
        gives any), `before` and `after` (shares of first and of selected images that fail by this
        kind, means over prompts), `difference` with `low`, `high` and `interval` (its method, ""
        where there is none), `searches` and `prompts` that these are over.
    """
    named = zip(runs, names, strict=True)
    rows = [row for run, name in named for row in _failure_rows(run, name, seed)]
    return pd.DataFrame(rows, columns=FAILURES)


def _failure_rows(run: LoggedRun, name: str, seed: int) -> Iterator[tuple[Any, ...]]:
    selected = run.searches["selected"].to_numpy()
    width = (run.index >= 0).sum(axis=1)
    drew_again = run.with_feedback.any(axis=1) if run.with_feedback.any() else width > 1
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
    yield from sorted(table, key=lambda row: (-row[3], row[1]))


def failing_draws(run: LoggedRun) -> Mapping[str, Floats]:
    """Return which draws fail, by kind of failure, (S, N); empty where the benchmark says none."""
    failing: dict[str, Floats] = {}
    for number, part in enumerate(run.parts):
        benchmark = scoring_benchmark(part)
        if benchmark is None:
            return {}
        columns = [*KEYS["candidates"], "reason", "answers"]
        table = store.read(part.folder.log, "candidates", columns)
        search, column = _places(run, number, table)
        rows_of: defaultdict[str, list[int]] = defaultdict(list)
        for row, kinds in enumerate(_kinds(benchmark, table, part.folder)):
            for kind in kinds:
                rows_of[kind].append(row)
        for kind, rows in rows_of.items():
            ended = np.array(rows)[search[rows] >= 0]
            if len(ended):
                of_kind = failing.setdefault(kind, np.zeros(run.index.shape))
                of_kind[search[ended], column[ended]] = 1.0
    return failing


def _kinds(benchmark: Benchmark, table: pa.Table, folder: RunFolder) -> Iterator[Sequence[str]]:
    """Yield each row's kinds of failures."""
    if table["answers"].null_count < len(table):
        for row in _scores(folder).to_pylist():
            score = logged_score(row)
            yield benchmark.failure_kinds(score) if score is not None else ()
        return
    of_reason: dict[str | None, Sequence[str]] = {None: (), "": ()}
    for reason in table["reason"].to_pylist():
        if reason not in of_reason:
            of_reason[reason] = benchmark.failure_kinds(Score(0.0, False, reason))
        yield of_reason[reason]
