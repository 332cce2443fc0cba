"""A grid of searches replayed over one bank of draws: score over what they would have cost.

All points share their draws, so they are compared prompt by prompt. A point's cost is that of the
search, verification included and the benchmark's own grading left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, product
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from harness.analysis.logged_run import LoggedRun
from harness.analysis.pairs import difference
from harness.analysis.rejudged import ORACLE
from harness.analysis.resampling import Floats
from harness.analysis.statistics import mean_interval
from harness.analysis.what_if import Bank, LacksDraws
from harness.errors import UsageError
from harness.options import resolved
from harness.records import Ability, whole_steps
from harness.registry import GENERATORS, STRATEGIES

BASELINE = "best-of-n"
"""The curve that points are held against where nothing else is named."""

AXES = {"tflops": "TFLOPs", "nfe": "NFE (the judge's work is not in it)", "draws": "images judged"}
"""Costs of a point, the first that is known for all being the one they are compared at."""

QUANTILES = (0.25, 0.5, 0.75)
SURVIVORS = (0.5, 0.25)


@dataclass(frozen=True)
class Point:
    """A search of the grid.

    Attributes:
        strategy: The strategy's name.
        options: Its options.
        budget: Its budget.
        judge: Another judge than the run's; None for that.
    """

    strategy: str
    options: Mapping[str, str] = field(default_factory=dict)
    budget: int = 1
    judge: str | None = None

    @property
    def curve(self) -> str:
        """Its name without its budget: points of one name make a curve."""
        options = "".join(f" {name}={value}" for name, value in self.options.items())
        return f"{self.strategy}{options}{f', {self.judge}' if self.judge else ''}"


@dataclass(frozen=True)
class Sweep:
    """The results of a grid.

    Attributes:
        frame: One row a point that the log answers: `curve`, `budget`, `oracle`; `score` (micro)
            with `low`, `high` and `method`; mean costs of a search `draws`, `nfe`, `tflops`,
            `device_seconds`, the search's own; `difference` with `difference_low` and
            `difference_high`: to the baseline at the same cost, paired over prompts; `pareto`: no
            point costs less and scores as high, oracles left out.
        axis: The cost that points are compared at, of `AXES`.
        baseline: The curve they are held against.
        missing: Points that ask for draws the log lacks.
    """

    frame: pd.DataFrame
    axis: str
    baseline: str
    missing: Sequence[Point]


def budgets_up_to(most: int) -> list[int]:
    """Return 1, 2, 3, 4, 6, 8, 12, … up to a bank's own budget, which is the last."""
    grid = {step * 2**n for n in range(most.bit_length()) for step in (1, 3)}
    return sorted({budget for budget in grid if budget < most} | {most})


def grid_of(
    strategy: str, options: Mapping[str, Sequence[str]], budgets: Sequence[int]
) -> list[Point]:
    """Return a strategy with all combinations of its options' values, at all budgets."""
    return [
        Point(strategy, dict(zip(options, values, strict=True)), budget)
        for values in product(*options.values())
        for budget in budgets
    ]


def default_grid(bank: Bank, judge: str | None = None) -> list[Point]:
    """Return best-of-n, its early stop and its oracle, and what the logged previews allow.

    Args:
        bank: The draws.
        judge: Another judge for all points but the oracle's; None for the run's own.
    """
    budgets = budgets_up_to(bank.config.budget)
    points = grid_of(BASELINE, {}, budgets)
    points += grid_of(BASELINE, {"select": ("first-accepted",)}, budgets[1:])
    if Ability.PARTIAL in GENERATORS.get(bank.config.generator.kind).abilities:
        points += _on_previews(bank, budgets[1:], judge)
    points = [Point(p.strategy, p.options, p.budget, judge) for p in points]
    if bank.config.scorer is not None and judge != ORACLE:
        points += [Point(BASELINE, {}, budget, ORACLE) for budget in budgets[1:]]
    return points


def _on_previews(bank: Bank, budgets: Sequence[int], judge: str | None) -> Iterator[Point]:
    steps = whole_steps(bank.config.generator.settings)
    stops = sorted(set(bank.table["stop"].drop_null().to_pylist()))
    share = {stop: f"{stop / steps:.6g}" for stop in stops}
    schedules = [f"{share[stop]}:{left}" for stop in stops for left in SURVIVORS]
    schedules += [
        f"{share[one]}:{SURVIVORS[0]},{share[two]}:{SURVIVORS[1]}"
        for one, two in combinations(stops, 2)
    ]
    yield from grid_of("prune", {"schedule": schedules}, budgets)
    for stop in stops:
        for bar in _bars(bank.table.filter(pc.equal(bank.table["stop"], stop)), judge):
            options = {"bar": (bar,), "looks": (share[stop],)}
            yield from grid_of("threshold", options, budgets)


def _bars(previews: pa.Table, judge: str | None) -> list[str]:
    """Return quantiles of what the judge gives previews."""
    name = (judge or "").partition("=")[2]
    if name:
        scores = [dict(pairs or ()).get(name) for pairs in previews["metrics"].to_pylist()]
    else:
        scores = previews["value" if judge == ORACLE else "judge_score"].to_pylist()
    known = [score for score in scores if score is not None]
    return list(dict.fromkeys(f"{bar:.4g}" for bar in np.quantile(known, QUANTILES)))


def sweep(
    bank: Bank,
    points: Sequence[Point],
    *,
    baseline: str = BASELINE,
    judge_settings: Mapping[str, str] | None = None,
    beside: Sequence[LoggedRun] = (),
    seed: int = 0,
) -> Sweep:
    """Replay all points of a grid.

    Args:
        bank: The draws.
        points: The grid.
        baseline: Name of the curve that the others are held against.
        judge_settings: Options of the points' judge.
        beside: Other runs over the same prompts, each a point as it ran: what no replay can answer.
        seed: Of the bootstrap.

    Raises:
        UsageError: The baseline is no curve of the grid, a point cannot be replayed exactly, or the
            run has no scorer.
    """
    if bank.config.scorer is None:
        raise UsageError(f"{bank.folder.path} has no scorer, so there are no scores to compare")
    rows, scores, missing = [], [], []
    for point in points:
        settings = judge_settings if point.judge not in (None, ORACLE) else None
        try:
            run = bank.replayed(
                point.strategy, point.options, budget=point.budget, judge=point.judge,
                judge_settings=settings,
            ).run  # fmt: skip
        except LacksDraws:
            missing.append(point)
            continue
        scores.append(run.scores())
        rows.append(_row(point, run, scores[-1], seed))
    for run in beside:
        point = _point_of(run)
        scores.append(run.scores())
        rows.append(_row(point, run, scores[-1], seed))
    frame = pd.DataFrame(rows)
    if baseline not in {point.curve for point in points} or not (frame["curve"] == baseline).any():
        curves = ", ".join(dict.fromkeys(point.curve for point in points))
        raise UsageError(f"the baseline '{baseline}' is no curve of this sweep", f"it has {curves}")
    axis = next(name for name in AXES if frame[name].notna().all() and (frame[name] > 0).any())
    against = _differences(frame, np.array(scores), baseline, axis, seed)
    frame = pd.concat([frame, against], axis=1)
    frame["pareto"] = _pareto(frame, axis)
    return Sweep(frame, axis, baseline, missing)


def _point_of(run: LoggedRun) -> Point:
    config = run.manifest.config
    name, options = config["strategy"]["name"], config["strategy"]["options"]
    usual = resolved(STRATEGIES.get(name)())
    changed = {key: str(value) for key, value in options.items() if value != usual.get(key)}
    return Point(name, changed, config["budget"], ORACLE if config["oracle"] else None)


def _row(point: Point, run: LoggedRun, scores: Floats, seed: int) -> dict[str, Any]:
    known = scores[np.isfinite(scores)].tolist()
    estimate = mean_interval(known, seed=seed) if known else None
    nothing = float("nan")
    return {
        "curve": point.curve,
        "budget": point.budget,
        "oracle": point.judge == ORACLE,
        "score": estimate.value if estimate else nothing,
        "low": estimate.low if estimate else nothing,
        "high": estimate.high if estimate else nothing,
        "method": estimate.method if estimate else "",
        "prompts": len(known),
        "draws": float(run.mean_cost((run.index >= 0).astype(float))[0]),
        **{
            axis: float(run.mean_cost(run.spent(axis, ("generator", "judge")))[0])
            for axis in ("nfe", "tflops", "device_seconds")
        },
    }


def _differences(
    frame: pd.DataFrame, scores: Floats, baseline: str, axis: str, seed: int
) -> pd.DataFrame:
    """Return each point's score less the baseline's at the same cost.

    Between two budgets the baseline is a coin flip between the two, which has that cost and that
    score; of its own points, and beyond its ends, nothing is said.
    """
    own = np.flatnonzero((frame["curve"] == baseline).to_numpy())
    own = own[np.argsort(frame[axis].to_numpy()[own], kind="stable")]
    costs = frame[axis].to_numpy()[own]
    rows = []
    for place, cost in enumerate(frame[axis]):
        row = dict.fromkeys(("difference", "difference_low", "difference_high"), float("nan"))
        rows.append(row)
        if place in own or not costs[0] <= cost <= costs[-1]:
            continue
        after = int(np.searchsorted(costs, cost))
        before = max(after - 1, 0)
        gap = costs[after] - costs[before]
        weight = (cost - costs[before]) / gap if gap > 0 else 1.0
        one, other = scores[own[before]], scores[own[after]]
        mixed = other if weight == 1.0 else (1 - weight) * one + weight * other
        known = np.isfinite(mixed) & np.isfinite(scores[place])
        if known.any():
            estimate = difference(mixed[known], scores[place][known], seed=seed)
            row |= zip(row, (estimate.value, estimate.low, estimate.high), strict=True)
    return pd.DataFrame(rows, index=frame.index)


def _pareto(frame: pd.DataFrame, axis: str) -> list[bool]:
    own = frame[~frame["oracle"]]
    costs, scores = own[axis].to_numpy(), own["score"].to_numpy()
    return [
        not row["oracle"]
        and not (
            (costs <= row[axis])
            & (scores >= row["score"])
            & ((costs < row[axis]) | (scores > row["score"]))
        ).any()
        for _, row in frame.iterrows()
    ]
