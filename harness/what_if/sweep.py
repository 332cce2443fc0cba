"""A grid of searches replayed over banks of draws: score over what they would have cost.

All points share their draws, so they are compared prompt by prompt. A point's cost is that of the
search, verification included and the benchmark's own grading left out. Banks that differ in their
seed alone are one, pooled as runs are (`harness.analysis.protocol`).
"""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import combinations, product
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from harness.abilities import has_scale
from harness.analysis.protocol import pool
from harness.config import RunConfig, read_config
from harness.errors import UsageError
from harness.records import Ability, whole_steps
from harness.registry import GENERATORS, STRATEGIES
from harness.runs.logged_run import LoggedRun
from harness.statistics.intervals import Floats, mean_interval
from harness.statistics.pairs import difference
from harness.what_if.bank import Bank
from harness.what_if.judges import ORACLE, judge_name
from harness.what_if.trajectories import LacksDraws

BASELINE = "best-of-n"
"""The curve that points are held against where nothing else is named."""

AXES = {"tflops": "TFLOPs", "nfe": "NFE", "device_seconds": "device-seconds"}
"""Costs of a point; points are compared at each that is known for all of them."""

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
            `device_seconds`, the search's own; and for each of the axes `difference_AXIS` with
            `_low` and `_high`: to the baseline at the same cost, paired over prompts; and
            `pareto_AXIS`: no point costs less and scores as high, oracles left out.
        axes: The costs that points are compared at, of `AXES`; `draws` where none is known.
        baseline: The curve they are held against.
        missing: Points that ask for draws the log lacks.
    """

    frame: pd.DataFrame
    axes: Sequence[str]
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


def default_grid(banks: Sequence[Bank], judges: Sequence[str | None] = (None,)) -> list[Point]:
    """Return best-of-n, its early stop and its oracle, and what the logged previews allow.

    Args:
        banks: The draws, of one kind of run.
        judges: For all points but the oracle's; None is the run's own.
    """
    config = banks[0].config
    budgets = budgets_up_to(config.budget)
    has_previews = Ability.PARTIAL in GENERATORS.get(config.generator.kind).abilities
    points = []
    for judge in judges:
        own = grid_of(BASELINE, {}, budgets)
        own += grid_of(BASELINE, {"select": ("first-accepted",)}, budgets[1:])
        own += _on_previews(banks, budgets[1:], judge) if has_previews else []
        points += [replace(point, judge=judge) for point in own]
    if config.scorer is not None and ORACLE not in judges:
        points += [Point(BASELINE, {}, budget, ORACLE) for budget in budgets[1:]]
    return points


def _on_previews(banks: Sequence[Bank], budgets: Sequence[int], judge: str | None) -> list[Point]:
    table = pa.concat_tables(bank.table for bank in banks)
    steps = whole_steps(banks[0].config.generator.settings)
    stops = sorted(set(table["stop"].drop_null().to_pylist()))
    share = {stop: f"{stop / steps:.6g}" for stop in stops}
    schedules = [f"{share[stop]}:{left}" for stop in stops for left in SURVIVORS]
    schedules += [
        f"{share[one]}:{SURVIVORS[0]},{share[two]}:{SURVIVORS[1]}"
        for one, two in combinations(stops, 2)
    ]
    points = grid_of("prune", {"schedule": schedules}, budgets)
    if judge is None and not all(has_scale(bank.config.judge) for bank in banks):
        return points
    for stop in stops:
        bars = _bars(table.filter(pc.equal(table["stop"], stop)), judge)
        points += grid_of("threshold", {"bar": bars, "looks": (share[stop],)}, budgets)
    return points


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
    banks: Sequence[Bank],
    points: Sequence[Point],
    *,
    baseline: str = BASELINE,
    judge_settings: Mapping[str, str] | None = None,
    beside: Sequence[LoggedRun] = (),
    seed: int = 0,
) -> Sweep:
    """Replay all points of a grid.

    Args:
        banks: The draws, of runs that differ in nothing but their seed: their searches are pooled.
        points: The grid.
        baseline: Name of the curve that the others are held against.
        judge_settings: Options of the points' judge.
        beside: Other runs over the same prompts, each a point as it ran: what no replay can answer.
        seed: Of the bootstrap.

    Raises:
        UsageError: The baseline is no curve of the grid, a point cannot be replayed exactly, or the
            run has no scorer.
    """
    own = banks[0].config
    if own.scorer is None:
        raise UsageError(f"{banks[0].folder.path} has no scorer, so there are no scores to compare")
    rows, scores, missing = [], [], []
    gc.freeze()  # the banks are here to stay, and large: looking through them takes its time
    try:
        for point in points:
            settings = judge_settings if point.judge not in (None, ORACLE) else None
            run = _answered(banks, point, settings)
            if run is None:
                missing.append(point)
                continue
            scores.append(run.scores())
            rows.append(_row(point, run, scores[-1], seed))
    finally:
        gc.unfreeze()
    for run in beside:
        point = _point_of(run, own)
        scores.append(run.scores())
        rows.append(_row(point, run, scores[-1], seed))
    curves = dict.fromkeys(row["curve"] for row in rows)
    if baseline not in curves:
        is_point = baseline in {point.curve for point in points}
        why = "asks for draws that the log lacks" if is_point else "is no curve of this sweep"
        known = f"--baseline may be {' or '.join(curves)}" if curves else "sweep over a bank"
        raise UsageError(f"the baseline '{baseline}' {why}", known)
    frame = pd.DataFrame(rows)
    axes = [name for name in AXES if frame[name].notna().all() and (frame[name] > 0).any()]
    axes = axes or ["draws"]
    parts = [_differences(frame, np.array(scores), baseline, axis, seed) for axis in axes]
    fronts = {f"pareto_{axis}": _pareto(frame, axis) for axis in axes}
    frame = pd.concat([frame, *parts], axis=1).assign(**fronts)
    return Sweep(frame, axes, baseline, missing)


def _answered(
    banks: Sequence[Bank], point: Point, settings: Mapping[str, str] | None
) -> LoggedRun | None:
    """Return what a point comes to on all banks; None where a log lacks draws for it."""
    try:
        runs = [
            bank.replayed(point.strategy, point.options, budget=point.budget, judge=point.judge,
                          judge_settings=settings, is_hasty=True).run
            for bank in banks
        ]  # fmt: skip
    except LacksDraws:
        return None
    (run,) = pool(runs)
    return run


def _point_of(run: LoggedRun, own: RunConfig) -> Point:
    """Return the point that a run is, beside those of banks with another config."""
    config = read_config(run.manifest.config)
    usual = {field.name: field.default for field in fields(STRATEGIES.get(config.strategy.name))}
    options = config.strategy.options.items()
    changed = {key: str(value) for key, value in options if value != usual.get(key)}
    judge = None if config.judge == own.judge else judge_name(config.judge)
    return Point(config.strategy.name, changed, config.budget, judge)


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
    rows, name = [], f"difference_{axis}"
    for place, cost in enumerate(frame[axis]):
        row = dict.fromkeys((name, f"{name}_low", f"{name}_high"), float("nan"))
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
