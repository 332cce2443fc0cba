"""Costs on every axis there is, money among them, and where two axes order strategies differently.

Beside draws, NFE, FLOPs and device-seconds (`harness.analysis.curves.AXES`) a run has FLOPs with
the padding of its batches, as they were; wall seconds, which its sessions took and draws share by
device-seconds; calls of language models and their tokens; and, where prices are given, money.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import combinations, product
from typing import Any

import numpy as np
import pandas as pd

from harness.analysis.comparison import Pair, equal_cost
from harness.analysis.curves import AXES, RunCurves
from harness.price import Price
from harness.runs.logged_run import PADDED, LoggedRun, Part
from harness.runs.money import by_draw

LEDGER = {
    **AXES,
    PADDED: "TFLOPs with padding",
    "wall_seconds": "wall seconds",
    "calls": "VLM calls",
    "tokens": "tokens",
    "price": "price",
}
"""Cost axes of one image, all roles, by key."""

DISAGREEMENTS = ("run", "other", "axis", "difference", "low", "high", "other_axis",
                 "other_difference", "other_low", "other_high")  # fmt: skip


def ledger_curves(curves: Sequence[RunCurves], price: Price) -> list[RunCurves]:
    """Return each run's own curve with its costs on every axis of `LEDGER`.

    Args:
        curves: Of each run.
        price: What is paid.
    """
    return [_with_ledger(of, price) for of in curves]


def _with_ledger(of: RunCurves, price: Price) -> RunCurves:
    run, costs = of.run, dict(of.own.costs)
    for axis in (PADDED, "calls", "tokens"):
        costs[axis] = of.spending(run.spent(axis))
    seconds = run.spent("device_seconds")
    factors = np.array([_wall_factor(run, number) for number in range(len(run.parts))])
    costs["wall_seconds"] = of.spending(seconds * factors[run.searches["part"]][:, None])
    costs["price"] = of.spending(by_draw(run, price))
    return replace(of, curves=[replace(of.own, costs=costs)])


def _wall_factor(run: LoggedRun, number: int) -> float:
    """Return a part's wall seconds by its device-seconds; NaN where either is not on record."""
    rows = run.searches["part"].to_numpy() == number
    device = float(run.spent("device_seconds")[rows].sum())
    return _wall_seconds(run.parts[number]) / device if device > 0 else float("nan")


def _wall_seconds(part: Part) -> float:
    try:
        spans = [
            datetime.fromisoformat(session["ended"]) - datetime.fromisoformat(session["started"])
            for session in part.manifest.sessions
        ]
    except (KeyError, TypeError, ValueError):  # of a session that is under way, or was killed
        return float("nan")
    return sum(span.total_seconds() for span in spans) if spans else float("nan")


def known_axes(curves: Sequence[RunCurves]) -> list[str]:
    """Return the axes on which every run has costs.

    Args:
        curves: As `ledger_curves` returns them.
    """
    return [axis for axis in LEDGER if all((of.own.costs[axis][0] > 0).any() for of in curves)]


def ledger_table(scaling: pd.DataFrame, curves: Sequence[RunCurves]) -> pd.DataFrame:
    """Return the runs' own curves over every cost axis.

    Args:
        scaling: `harness.analysis.tables.curve_table` of the same runs.
        curves: As `ledger_curves` returns them.

    Returns:
        Its rows of own curves, with the mean cost of an image on each axis of `LEDGER`; NaN where
        it is not known.
    """
    own = scaling[scaling["own"]]
    costs = {axis: [of.own.costs[axis].ravel() for of in curves] for axis in LEDGER}
    return own.assign(**{axis: np.concatenate(parts) for axis, parts in costs.items()})


def disagreements_table(matched: Mapping[Pair, Mapping[Any, Any]]) -> pd.DataFrame:
    """Find pairs of runs that one cost axis orders one way and another axis the other way.

    Args:
        matched: `harness.analysis.comparison.by_pair` over some axes.

    Returns:
        One row a pair and two axes, on each at the end of the cheaper run: at equal `axis` `run` is
        above the other (`difference` with `low` above 0), at equal `other_axis` below it
        (`other_high` below 0).
    """
    numbers, rows = ("difference", "low", "high"), []
    axes_here = dict.fromkeys(axis for _, _, axis in matched)
    for pair in combinations(dict.fromkeys(run for run, _, _ in matched), 2):
        by_axis = {axis: equal_cost(matched, *pair, axis) for axis in axes_here}
        above = [axis for axis, row in by_axis.items() if row["low"] > 0]
        below = [axis for axis, row in by_axis.items() if row["high"] < 0]
        for axes in product(above, below):
            cells = [(axis, *(by_axis[axis][name] for name in numbers)) for axis in axes]
            rows.append([*pair, *cells[0], *cells[1]])
    return pd.DataFrame(rows, columns=list(DISAGREEMENTS))
