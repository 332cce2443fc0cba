"""Curves as tidy frames with intervals: what figures draw and notebooks plot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.analysis.curves import ORACLE, Curve, RunCurves
from harness.analysis.logged_run import Group, LoggedRun, known_mean
from harness.analysis.protocol import facts
from harness.analysis.resampling import LEVEL, Bands, Floats, Ints
from harness.analysis.statistics import BCA, known_bca, macro_bands, mean_bands

GAP_COLUMNS = ["run", "kind", "tag", "budget", "oracle", "own", "gap", "low", "high", "method",
               "prompts"]  # fmt: skip


def curve_table(
    curves: Sequence[RunCurves], names: Sequence[str], *, seed: int = 0
) -> pd.DataFrame:
    """Every curve of every run, with 95% intervals.

    Args:
        curves: Of each run.
        names: What to call each run.
        seed: Of the bootstrap.

    Returns:
        One row a run, selector, group and budget: `run`, `selector`, `own`, `basis`, `kind`
        (micro, macro or tag), `tag`, `budget`, `score`, `low`, `high`, `method`, `prompts`; the
        realised mean costs of an image: `draws`, `nfe`, `tflops`, `device_seconds` over all
        roles, with `_search` over generator and judge, with `_generator` over that alone; and
        how the run was measured (`harness.analysis.protocol.facts`, `draws` as `draws_logged`).
    """
    parts = [
        _rows(of.run, curve, name, seed)
        for of, name in zip(curves, names, strict=True)
        for curve in of.curves
    ]
    return pd.concat([part for group in parts for part in group], ignore_index=True)


def gap_table(curves: Sequence[RunCurves], names: Sequence[str], *, seed: int = 0) -> pd.DataFrame:
    """The gain of a perfect judge at each budget: oracle minus own selection, paired.

    Returns:
        One row a run, group (micro and tags) and budget: `run`, `kind`, `tag`, `budget`,
        `oracle`, `own`, `gap`, `low`, `high`, `method`, `prompts`. Empty ends where every
        prompt has the same gap, so that there is nothing to resample.
    """
    parts = []
    for of, name in zip(curves, names, strict=True):
        own, oracle = of.own, of.get(ORACLE)
        if oracle is None:
            continue
        budgets, left, right = np.intersect1d(own.budgets, oracle.budgets, return_indices=True)
        pair = np.isfinite(own.scores[:, left]) & np.isfinite(oracle.scores[:, right])
        known = pair.any(axis=0)
        budgets, left, right = budgets[known], left[known], right[known]
        for group in of.run.groups:
            if group.kind == "macro" or not len(budgets):
                continue
            first, second = own.scores[group.rows][:, left], oracle.scores[group.rows][:, right]
            first, second = _both(first, second)
            bands, counts = known_bca(second - first, seed=seed, level=LEVEL)
            parts.append(
                pd.DataFrame(
                    {
                        "run": name,
                        "kind": group.kind,
                        "tag": group.tag,
                        "budget": budgets,
                        "oracle": known_mean(second),
                        "own": known_mean(first),
                        "gap": bands.value,
                        "low": bands.low,
                        "high": bands.high,
                        "method": np.where(np.isfinite(bands.low), BCA, "none: all gaps equal"),
                        "prompts": counts,
                    }
                )
            )
    if parts:
        return pd.concat(parts, ignore_index=True)
    numbers = dict.fromkeys(("budget", "oracle", "own", "gap", "low", "high", "prompts"), float)
    return pd.DataFrame(columns=GAP_COLUMNS).astype(numbers)


def _both(first: Floats, second: Floats) -> tuple[Floats, Floats]:
    """Two columns of scores over the prompts that are known in both; NaN elsewhere."""
    known = np.isfinite(first) & np.isfinite(second)
    return np.where(known, first, np.nan), np.where(known, second, np.nan)


def over(group: Group, scores: Floats) -> Ints:
    """Return how many prompts of a group each column of scores is a mean over, (K,).

    Args:
        group: The group.
        scores: Shape (prompts, K); NaN of prompts without a score. A column without any says how
            many it would be over.
    """
    counts: Ints = np.isfinite(scores[group.rows]).sum(axis=0)
    return np.where(counts > 0, counts, len(group.rows))


def _rows(run: LoggedRun, curve: Curve, name: str, seed: int) -> list[pd.DataFrame]:
    known = {k: v for k, v in facts(run).items() if k != "draws"}
    known["draws_logged"] = facts(run)["draws"]
    bands = group_bands(run, curve.scores, seed=seed)
    parts = []
    for g, (group, (band, method)) in enumerate(zip(run.groups, bands, strict=True)):
        fields: dict[str, Any] = {
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
            "prompts": over(group, curve.scores),
            **{axis: costs[g] for axis, costs in curve.costs.items()},
            **known,
        }
        parts.append(pd.DataFrame(fields))
    return parts


def group_bands(
    run: LoggedRun, scores: Floats, *, seed: int = 0
) -> list[tuple[Bands, npt.NDArray[np.str_]]]:
    """Score of each of a run's groups with its interval.

    Args:
        run: Whose groups.
        scores: Shape (prompts, columns).
        seed: Of the bootstrap.
    """
    # A random pick is worth the same at every n: one column's interval serves all.
    flat = scores.shape[1] > 1 and bool(np.ptp(scores, axis=1).max() <= 1e-12)  # not where NaN is
    values = scores[:, :1] if flat else scores
    bands = [_group_band(run, group, values, seed) for group in run.groups]
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


def _group_band(
    run: LoggedRun, group: Group, values: Floats, seed: int
) -> tuple[Bands, npt.NDArray[np.str_]]:
    if group.kind == "macro":
        return macro_bands(values, run.strata, seed=seed)
    return mean_bands(values[group.rows], seed=seed)
