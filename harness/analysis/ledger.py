"""Costs on every axis there is, and where two of them order strategies differently.

Beside draws, NFE, FLOPs and device-seconds (`harness.analysis.curves.AXES`) a run has FLOPs with
the padding of its batches, as they were; wall seconds, which its sessions took and draws share by
device-seconds; calls of language models and their tokens; and, where one is given, a price.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np
import pandas as pd

from harness.analysis.curve_tables import group_bands
from harness.analysis.curves import AXES, RunCurves
from harness.analysis.logged_run import PADDED, LoggedRun, Part
from harness.analysis.matched import matched_table
from harness.analysis.resampling import Floats

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


def ledger_curves(curves: Sequence[RunCurves], price: float | None = None) -> list[RunCurves]:
    """Return each run's own curve with its costs on every axis of `LEDGER`.

    Args:
        curves: Of each run.
        price: Of an hour of a device.
    """
    return [_with_ledger(of, price) for of in curves]


def _with_ledger(of: RunCurves, price: float | None) -> RunCurves:
    run, costs = of.run, dict(of.own.costs)
    for axis in (PADDED, "calls", "tokens"):
        costs[axis] = of.spending(run.spent(axis))
    seconds = run.spent("device_seconds")
    factors = np.array([_wall_factor(run, number) for number in range(len(run.parts))])
    costs["wall_seconds"] = of.spending(seconds * factors[run.searches["part"]][:, None])
    costs["price"] = costs["device_seconds"] * (np.nan if price is None else price / 3600)
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


def ledger_table(
    curves: Sequence[RunCurves], names: Sequence[str], *, seed: int = 0
) -> pd.DataFrame:
    """Return micro score over every cost axis.

    Args:
        curves: As `ledger_curves` returns them.
        names: What to call each.
        seed: Of the bootstrap over prompts.

    Returns:
        One row a run and budget of its own curve: `run`, `budget`, `score`, `low`, `high`, and the
        mean cost of an image on each axis of `LEDGER`; NaN where it is not known.
    """
    parts = []
    for of, name in zip(curves, names, strict=True):
        band, _ = group_bands(of.run, of.own.scores, seed=seed)[0]
        scores: dict[str, Floats] = {"score": band.value, "low": band.low, "high": band.high}
        costs = {axis: of.own.costs[axis][0] for axis in LEDGER}
        parts.append(pd.DataFrame({"run": name, "budget": of.own.budgets, **scores, **costs}))
    return pd.concat(parts, ignore_index=True)


def ledger_matched(
    curves: Sequence[RunCurves], names: Sequence[str], *, seed: int = 0
) -> pd.DataFrame:
    """Return `matched_table` over every axis on which all runs have costs.

    Args:
        curves: As `ledger_curves` returns them.
        names: What to call each.
        seed: Of the bootstrap over prompts.
    """
    known = [axis for axis in LEDGER if all((of.own.costs[axis][0] > 0).any() for of in curves)]
    return matched_table(curves, names, seed=seed, axes=known)


def disagreements_table(matched: pd.DataFrame) -> pd.DataFrame:
    """Find pairs of runs that one cost axis orders one way and another axis the other way.

    Args:
        matched: As `ledger_matched` returns it.

    Returns:
        One row a pair and two axes, both at the cost of `run`: on `axis` it is above the other at
        equal cost (`difference` with `low` above 0), on `other_axis` below (`other_high` below 0).
    """
    both = matched[matched["low"] > 0].merge(
        matched[matched["high"] < 0], on=["run", "other"], suffixes=("", "_below")
    )
    numbers = ("cost_axis", "difference", "low", "high")
    columns = ["run", "other", *numbers, *(f"{name}_below" for name in numbers)]
    return both[columns].set_axis(list(DISAGREEMENTS), axis=1)
