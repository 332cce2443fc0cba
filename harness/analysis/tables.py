"""Scores of runs as tidy frames with intervals: what figures draw and a paper prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.analysis.curves import ORACLE, Curve, RunCurves, as_run
from harness.analysis.protocol import facts, only
from harness.runs.logged_run import PADDED, LoggedRun
from harness.statistics.intervals import (
    BCA,
    LEVEL,
    Bands,
    Floats,
    known_bca,
    known_mean,
    mean_bands,
)
from harness.statistics.pairs import detectable

GAPS = ["run", "kind", "tag", "budget", "oracle", "own", "gap", "low", "high", "method",
        "prompts"]  # fmt: skip
SEEDS = ["run", "seed", "kind", "tag", "score", "prompts", "budget", "draws"]


def curve_table(
    curves: Sequence[RunCurves], names: Sequence[str], *, seed: int = 0
) -> pd.DataFrame:
    """Every curve of every run, with 95% intervals.

    Returns:
        One row a run, selector, group and budget: `run`, `selector`, `own`, `basis`, `kind`
        (micro, macro or tag), `tag`, `budget`, `score`, `low`, `high`, `method`, `prompts`; the
        realised mean costs of an image: `draws`, `nfe`, `tflops`, `device_seconds` over all
        roles, with `_search` over generator and judge, with `_generator` over that alone; and
        how the run was measured (`harness.analysis.protocol.facts`).
    """
    parts = []
    for of, name in zip(curves, names, strict=True):
        known = facts(of.run)
        for curve in of.curves:
            parts += [pd.DataFrame(row | known) for row in _rows(of.run, curve, name, seed)]
    return pd.concat(parts, ignore_index=True)


def runs_table(runs: Sequence[LoggedRun], names: Sequence[str], *, seed: int = 0) -> pd.DataFrame:
    """Scores, costs and completeness of runs, each as it selected at its own budget.

    Returns:
        One row a run and group, as `curve_table` without what tells curves and budgets apart; and
        `tflops_padded`, `tflops` with the padding of batches, and `detectable_unpaired`, the
        smallest difference to an independent run of as many prompts that would be found with 80%
        power.
    """
    parts = []
    for run, name in zip(runs, names, strict=True):
        padded, known = run.mean_cost(run.spent(PADDED)), facts(run)
        for row, cost in zip(_rows(run, as_run(run), name, seed), padded, strict=True):
            for column in ("selector", "own", "basis", "budget"):
                del row[column]
            score, prompts = float(row["score"][0]), int(row["prompts"][0])
            spread = float(np.sqrt(2 * max(score * (1 - score), 0.0)))
            least = detectable(spread, prompts) if row["kind"] == "micro" else float("nan")
            parts.append(pd.DataFrame(row | {PADDED: cost, "detectable_unpaired": least} | known))
    return pd.concat(parts, ignore_index=True)


def gap_table(curves: Sequence[RunCurves], names: Sequence[str], *, seed: int = 0) -> pd.DataFrame:
    """The gain of a perfect judge at each budget: oracle minus own selection, paired.

    Returns:
        One row a run, group (micro and tags) and budget, `GAPS`. Empty ends where every prompt has
        the same gap, so that there is nothing to resample.
    """
    parts = []
    for of, name in zip(curves, names, strict=True):
        own, oracle = of.own, of.get(ORACLE)
        if oracle is None:
            continue
        budgets, left, right = np.intersect1d(own.budgets, oracle.budgets, return_indices=True)
        pair = np.isfinite(own.scores[:, left]) & np.isfinite(oracle.scores[:, right])
        answered = pair.any(axis=0)
        budgets, left, right = budgets[answered], left[answered], right[answered]
        for group in of.run.groups:
            if group.kind == "macro" or not len(budgets):
                continue
            one, other = own.scores[group.rows][:, left], oracle.scores[group.rows][:, right]
            pair = np.isfinite(one) & np.isfinite(other)
            one, other = np.where(pair, one, np.nan), np.where(pair, other, np.nan)
            bands, counts = known_bca(other - one, seed=seed, level=LEVEL)
            method = np.where(np.isfinite(bands.low), BCA, "none: all gaps equal")
            columns = (
                name, group.kind, group.tag, budgets, known_mean(other), known_mean(one),
                bands.value, bands.low, bands.high, method, counts,
            )  # fmt: skip
            parts.append(pd.DataFrame(dict(zip(GAPS, columns, strict=True))))
    if parts:
        return pd.concat(parts, ignore_index=True)
    numbers = dict.fromkeys(("budget", "oracle", "own", "gap", "low", "high", "prompts"), float)
    return pd.DataFrame(columns=GAPS).astype(numbers)


def seeds_table(runs: Sequence[LoggedRun], names: Sequence[str]) -> pd.DataFrame:
    """Scores of each seed of the runs that have several.

    Returns:
        One row a run, seed and group, `SEEDS`: `prompts` are those with ended searches of that
        seed, `draws` the mean of a search.
    """
    rows: list[tuple[Any, ...]] = []
    for run, name in zip(runs, names, strict=True):
        for number, seed in enumerate(run.seeds if len(run.parts) > 1 else ()):
            part = only(run, number)
            scores = part.by_group(part.scores()[:, None], known_mean)[:, 0]
            draws = part.mean_cost((part.index >= 0).astype(float))
            rows += [
                (name, seed, group.kind, group.tag, float(score), len(group.rows),
                 run.manifest.config["budget"], float(cost))
                for group, score, cost in zip(part.groups, scores, draws, strict=True)
            ]  # fmt: skip
    return pd.DataFrame(rows, columns=SEEDS)


def _rows(run: LoggedRun, curve: Curve, name: str, seed: int) -> Iterator[dict[str, Any]]:
    """Yield the columns of a curve for each group of its run."""
    for g, (band, method) in enumerate(group_bands(run, curve.scores, seed=seed)):
        group = run.groups[g]
        counts = np.isfinite(curve.scores[group.rows]).sum(axis=0)
        yield {
            "run": name,
            "selector": curve.selector,
            "own": curve.own,
            "basis": curve.basis,
            "kind": group.kind,
            "tag": group.tag,
            "budget": curve.budgets,
            "score": band.value,
            "low": band.low,
            "high": band.high,
            "method": method,
            # Where no prompt has a score: how many there would be.
            "prompts": np.where(counts > 0, counts, len(group.rows)),
            **{axis: costs[g] for axis, costs in curve.costs.items()},
        }


def group_bands(
    run: LoggedRun, scores: Floats, *, seed: int = 0
) -> list[tuple[Bands, npt.NDArray[np.str_]]]:
    """Score of each of a run's groups with its interval, from scores by prompt, (P, columns)."""
    # A random pick is worth the same at every n: one column's interval serves all.
    flat = scores.shape[1] > 1 and bool(np.ptp(scores, axis=1).max() <= 1e-12)  # not where NaN is
    values = scores[:, :1] if flat else scores
    bands = [
        mean_bands(values, run.strata, seed=seed)
        if group.kind == "macro"
        else mean_bands(values[group.rows], seed=seed)
        for group in run.groups
    ]
    if not flat:
        return bands
    width = scores.shape[1]
    return [
        (
            Bands(*(np.repeat(ends, width) for ends in (band.value, band.low, band.high))),
            np.repeat(method, width),
        )
        for band, method in bands
    ]
