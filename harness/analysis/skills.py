"""Means by skill: of the questions that a benchmark asks about images, by what they test.

A prompt has one tag and questions of several skills, so these means are over questions, not over
prompts. What a question adds is the benchmark's affair (`Benchmark.by_skill`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.base import Benchmark, Scored
from harness.analysis.curves import AXES, RunCurves
from harness.analysis.ledger import LEDGER
from harness.analysis.logged_run import LoggedRun, Part
from harness.analysis.resampling import LEVEL, Floats, resampled_means
from harness.config import RECORDED_SCORER, read_config
from harness.engine.rows import logged_score
from harness.errors import HarnessError
from harness.log import store
from harness.log.manifest import Manifest
from harness.log.run_folder import RunFolder
from harness.log.schema import KEYS, SCORE
from harness.prompts import benchmark_of, read_prompts


@dataclass(frozen=True, slots=True)
class Skill:
    """The mean of one skill.

    Attributes:
        name: The skill.
        mean: Over its questions.
        questions: How many there are.
    """

    name: str
    mean: float
    questions: int


def by_skill(folder: RunFolder, manifest: Manifest, *, selected: bool) -> list[Skill]:
    """Return the means by skill over a run's scored images; none where nobody asks questions.

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
        return []
    grades: defaultdict[str, list[float]] = defaultdict(list)
    for _, skills in _graded_rows(benchmark, part, _rows(folder, selected)):
        for skill, grade in skills:
            grades[skill].append(grade)
    return [Skill(name, sum(values) / len(values), len(values)) for name, values in grades.items()]


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


SKILL_COLUMNS = ("run", "kind", "tag", "budget", "score", "low", "high", "method", "questions",
                 "prompts", *AXES)  # fmt: skip


def skill_table(
    curves: Sequence[RunCurves], names: Sequence[str], *, seed: int = 0
) -> pd.DataFrame:
    """Score by skill at every budget and its cost, of runs over benchmarks that ask questions.

    Args:
        curves: Of each run.
        names: What to call each.
        seed: Of the bootstrap over prompts.

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
    return pd.DataFrame(columns=list(SKILL_COLUMNS))


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
        table = store.read(part.folder.log, "candidates", [*KEYS["candidates"], *SCORE])
        search, column = run.place(number, table)
        for row, skills in _graded_rows(benchmark, part, table.to_pylist()):
            if search[row] < 0:
                continue
            for skill, grade in skills:
                shape = run.index.shape
                totals, counts = grades.setdefault(skill, (np.zeros(shape), np.zeros(shape)))
                totals[search[row], column[row]] += grade
                counts[search[row], column[row]] += 1
    return grades


def line(skills: Sequence[Skill]) -> list[str]:
    """Return the line about skills beside a run's scores, if there is anything to say."""
    if not skills:
        return []
    listed = ", ".join(f"{each.name} {each.mean:.3f} of {each.questions}" for each in skills)
    return [f"skills    {listed}"]


def selected_rows(folder: RunFolder) -> Iterable[Mapping[str, Any]]:
    """Return the scores of the images that a run's searches selected, as logged."""
    return _rows(folder, True)


def _rows(folder: RunFolder, selected: bool) -> Iterable[Mapping[str, Any]]:
    columns = ["prompt_id", "replicate", "draw_index", *SCORE]
    rows: list[dict[str, Any]] = store.read(folder.log, "candidates", columns).to_pylist()
    if not selected:
        return rows
    searches = store.read(
        folder.log, "searches", ["prompt_id", "replicate", "selected_index"]
    ).to_pylist()
    chosen = {(row["prompt_id"], row["replicate"], row["selected_index"]) for row in searches}
    return [
        row for row in rows if (row["prompt_id"], row["replicate"], row["draw_index"]) in chosen
    ]


DPG_COLUMNS = ("run", "measure", "official", "patched", "difference", "items", "official_items",
           "lost_rows", "replaced_items", "lost_items")  # fmt: skip


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
    return pd.DataFrame(rows, columns=list(DPG_COLUMNS))


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
