"""At equal cost: what one run reaches for what another spent.

Budgets are whole numbers and realised costs are not, so a curve is read between two of its
budgets. Reading on the straight line is no approximation: a search that flips a coin between
the two budgets has exactly that mean cost and exactly that mean score.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd

from harness.analysis.comparison import Common, common
from harness.analysis.curves import AXES, Curve, RunCurves
from harness.analysis.pairs import difference
from harness.analysis.resampling import Floats

COLUMNS = ["run", "cost_axis", "cost", "score", "other", "other_budget", "other_score",
           "difference", "low", "high", "interval", "other_needs", "prompts", "kind",
           "note"]  # fmt: skip

_NO_COST, _NO_SCORE = "this cost was not recorded", "no prompt has a score in both runs"
NO_NUMBERS = (_NO_COST, _NO_SCORE)
"""Notes of rows that say nothing of what the other run needs."""


def matched_table(
    curves: Sequence[RunCurves],
    names: Sequence[str],
    *,
    seed: int = 0,
    axes: Iterable[str] = AXES,
) -> pd.DataFrame:
    """For each run and each other run: what the other reaches at the run's cost.

    All scores are micro, over the prompts both have; costs are over all roles, a prompt's one
    image, each run's own mean. The interval is of the run's score minus the other's, paired
    over prompts; the costs are taken as measured, without an interval of their own.

    Args:
        curves: Of each run; the run is taken at its largest budget, the other along its curve.
        names: What to call each.
        seed: Of the bootstrap.
        axes: Cost axes of the own curves.

    Returns:
        One row a run, cost axis and other run: `run`, `cost_axis`, `cost`, `score`, `other`,
        `other_budget` (between whole budgets), `other_score`, `difference`, `low`, `high`,
        `interval`, `other_needs` (the cost at which the other's curve first reaches the run's
        score; NaN if it never does), `prompts`, `kind`, `note` (why a row has no numbers).
    """
    rows = [
        _row(curves[i], names[i], curves[j], names[j], shared, axis, seed)
        for i, j in permutations(range(len(curves)), 2)
        for shared in [common(curves[i].run, curves[j].run)]
        for axis in axes
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def equal_cost(matched: pd.DataFrame, run: str, other: str, axis: str) -> dict[str, Any]:
    """Return the difference of two runs at the end of the cheaper one, whichever that is.

    Args:
        matched: As `matched_table` returns it.
        run: Whose score is the first term.
        other: Whose score is taken from it.
        axis: Cost axis.

    Returns:
        `difference`, `low`, `high`; `end`, the run whose cost it is at; and `note`, why there are
        no numbers, where neither curve can be read at the other's end.
    """
    of_pair = matched["run"].isin((run, other)) & matched["other"].isin((run, other))
    rows = {
        (row["run"], row["other"]): row
        for row in matched[of_pair & (matched["cost_axis"] == axis)].to_dict("records")
    }
    own, turned = rows[run, other], rows[other, run]
    if pd.isna(own["difference"]) and not pd.isna(turned["difference"]):
        return {
            "difference": -turned["difference"],
            "low": -turned["high"],
            "high": -turned["low"],
            "end": other,
            "note": "",
        }
    return {name: own[name] for name in ("difference", "low", "high", "note")} | {"end": run}


def _row(
    run: RunCurves,
    name: str,
    other: RunCurves,
    other_name: str,
    shared: Common,
    axis: str,
    seed: int,
) -> dict[str, Any]:
    score = run.own.scores[shared.first, -1]
    costs, budgets, scores = _line(other.own, axis, shared.second)
    # Over the prompts that both have scores of, as every paired difference.
    known = np.isfinite(score) & np.isfinite(scores).all(axis=1)
    if not known.all():
        score, scores = score[known], scores[known]
    cost = float(run.own.costs[axis][0, -1])
    row: dict[str, Any] = {
        "run": name,
        "cost_axis": axis,
        "cost": cost,
        "score": float(score.mean()) if len(score) else float("nan"),
        "other": other_name,
        "prompts": len(score),
        "kind": "micro",
        "note": "",
    }
    if not len(score) or not np.isfinite(other.own.scores).any():
        return row | {"note": _NO_SCORE}
    if not np.isfinite(cost) or cost <= 0 or not len(costs) or costs[-1] <= 0:
        return row | {"note": _NO_COST}
    row["other_needs"] = _needs(costs, scores.mean(axis=0), float(score.mean()))
    if cost < costs[0] * (1 - 1e-9):
        return row | {"note": f"below the cost of one budget step of {other_name}: {costs[0]:.4g}"}
    if cost > costs[-1] * (1 + 1e-9):
        reached = float(scores[:, -1].mean())
        return row | {
            "note": f"beyond the log of {other_name}, which ends at {costs[-1]:.4g} ({reached:.3f})"
        }
    place = float(np.interp(cost, costs, np.arange(len(costs))))
    low = min(int(place), len(costs) - 1)
    share = place - low
    high = min(low + 1, len(costs) - 1)
    mixed = (1 - share) * scores[:, low] + share * scores[:, high]
    estimate = difference(mixed, score, seed=seed)
    return row | {
        "other_budget": float((1 - share) * budgets[low] + share * budgets[high]),
        "other_score": float(mixed.mean()),
        "difference": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "interval": estimate.method,
    }


def _line(curve: Curve, axis: str, prompts: Any) -> tuple[Floats, Any, Floats]:
    """A curve's answered budgets at which its cost rises."""
    costs = curve.costs[axis][0]
    known = np.isfinite(costs) & np.isfinite(curve.scores).any(axis=0)
    # Where a larger budget costs nothing more (all searches had ended), the last one stands.
    places = np.flatnonzero(known)
    places = places[np.append(np.diff(costs[places]) > 0, True)] if len(places) else places
    return costs[places], curve.budgets[places], curve.scores[prompts][:, places]


def _needs(costs: Floats, means: Floats, score: float) -> float:
    reached = np.flatnonzero(means >= score - 1e-12)
    if not len(reached):
        return float("nan")
    at = int(reached[0])
    if at == 0:
        return float(costs[0])
    share = (score - means[at - 1]) / (means[at] - means[at - 1])
    return float(costs[at - 1] + share * (costs[at] - costs[at - 1]))
