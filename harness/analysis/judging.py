"""What a judge is worth: its verdicts against scores, and where selecting by it stops paying."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from harness.analysis.curves import RunCurves
from harness.analysis.logged_run import LoggedRun
from harness.analysis.resampling import LEVEL, Floats, ranks
from harness.analysis.statistics import mean_interval, measure_interval
from harness.analysis.transfer import JUDGE, SCORER

AGREEMENT = ("run", "tag", "right_accepted", "right_rejected", "wrong_accepted", "wrong_rejected",
             "agreement", "low", "high", "method", "auc", "prompts")  # fmt: skip
ROC = ("run", "threshold", "right_above", "wrong_above")
PEAKS = ("run", "measure", "peak_budget", "peak", "budget", "end", "change", "low", "high",
         "interval", "over_optimised", "prompts")  # fmt: skip

ROC_POINTS = 101


def agreement_table(
    runs: Sequence[LoggedRun], names: Sequence[str], *, seed: int = 0
) -> pd.DataFrame:
    """Hold the judge's verdicts against the scorer's, over all draws and by tag.

    Args:
        runs: The runs.
        names: What to call each.
        seed: Of the bootstrap over prompts.

    Returns:
        One row a run with a judge and tag ("" for all prompts, first): counts of draws by the
        scorer (right, wrong) and the judge (accepted, rejected), `agreement` (share of draws on
        which they agree, a mean over prompts) with `low`, `high` and `method`, `auc` (the chance
        that the judge scores a right draw above a wrong one, ties half; NaN where it gives no
        scores or draws are all right or all wrong), and `prompts`.
    """
    rows: list[dict[str, Any]] = []
    for run, name in zip(runs, names, strict=True):
        known = _judged(run)
        if not known.any():
            continue
        tag_of = run.prompts["tag"].to_numpy()[run.searches["prompt"].to_numpy()]
        tags = [group.tag for group in run.groups if group.kind == "tag"]
        for tag in ["", *tags]:
            of_tag = known & ((tag_of == tag) | (tag == ""))[:, None]
            if of_tag.any():
                rows.append({"run": name, "tag": tag, **_agreement(run, of_tag, seed)})
    return pd.DataFrame(rows, columns=list(AGREEMENT))


def _agreement(run: LoggedRun, known: Any, seed: int) -> Mapping[str, Any]:
    right, accepted = run.correct[known], run.accepted[known]
    agrees = np.where(known, run.correct == run.accepted, 0.0).sum(axis=1)
    totals = run.by_prompt(np.stack([agrees, known.sum(axis=1)], axis=1).astype(float))
    share = (totals[:, 0] / np.where(totals[:, 1] > 0, totals[:, 1], np.nan)).tolist()
    estimate = mean_interval([value for value in share if value == value], seed=seed)
    return {
        "right_accepted": int((right & accepted).sum()),
        "right_rejected": int((right & ~accepted).sum()),
        "wrong_accepted": int((~right & accepted).sum()),
        "wrong_rejected": int((~right & ~accepted).sum()),
        "agreement": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "method": estimate.method,
        "auc": area(run.judge_score[known], right),
        "prompts": sum(value == value for value in share),
    }


def area(score: Floats, right: Any) -> float:
    """Return the area under the ROC curve; NaN where it has none."""
    finite = np.isfinite(score)
    score, right = score[finite], right[finite]
    positive, negative = int(right.sum()), int((~right).sum())
    if not positive or not negative or np.ptp(score) == 0:
        return float("nan")
    above = ranks(score)[right].sum() - positive * (positive + 1) / 2
    return float(above / (positive * negative))


def roc_table(runs: Sequence[LoggedRun], names: Sequence[str]) -> pd.DataFrame:
    """Return the ROC curve of each judge's score against what the scorer finds right.

    Returns:
        One row a run and point, from the highest threshold on: `run`, `threshold`, `right_above`
        and `wrong_above` (shares of right and of wrong draws that score at least as high); at most
        `ROC_POINTS` a run. No rows for judges without a score of more than two values.
    """
    parts = []
    for run, name in zip(runs, names, strict=True):
        known = _judged(run) & np.isfinite(run.judge_score)
        score, right = run.judge_score[known], run.correct[known]
        if len(np.unique(score)) < 3 or right.all() or not right.any():
            continue
        order = np.argsort(-score, kind="stable")
        score, right = score[order], right[order]
        last = np.append(np.flatnonzero(np.diff(score)), len(score) - 1)  # of equal scores
        last = last[np.unique(np.linspace(0, len(last) - 1, ROC_POINTS).astype(int))]
        above = np.cumsum(right)[last]
        parts.append(
            pd.DataFrame(
                {
                    "run": name,
                    "threshold": score[last],
                    "right_above": above / right.sum(),
                    "wrong_above": (last + 1 - above) / (~right).sum(),
                }
            )
        )
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(ROC))


def _judged(run: LoggedRun) -> Any:
    if run.manifest.config["judge"]["kind"] == "none":
        return np.zeros_like(run.answered)
    return run.answered & run.scored & (run.index >= 0)


def peaks_table(
    curves: Sequence[RunCurves], names: Sequence[str], *, seed: int = 0
) -> pd.DataFrame:
    """Find the peak of every measure of selected images over budgets, and what follows it.

    A search that goes on past the peak of a measure that it does not select by exploits its judge.
    The peak is chosen after the fact among all budgets, so the interval is widened for as many
    (Bonferroni).

    Args:
        curves: Of each run.
        names: What to call each.
        seed: Of the bootstrap over prompts.

    Returns:
        One row a run and measure (the scorer, the judge's score, metrics) of runs with at least two
        budgets: `run`, `measure`, `peak_budget`, `peak`, the last `budget` and its value `end`,
        `change` (end minus peak, paired over prompts) with `low`, `high` and `interval`,
        `over_optimised` (whether the measure falls past its peak), `prompts`.
    """
    rows = [row for of, name in zip(curves, names, strict=True) for row in _peaks(of, name, seed)]
    return pd.DataFrame(rows, columns=list(PEAKS))


def _peaks(of: RunCurves, name: str, seed: int) -> Iterator[dict[str, Any]]:
    run = of.run
    measures = {SCORER: np.where(run.scored, run.value, np.nan)}
    if run.manifest.config["judge"]["kind"] != "none":
        measures[JUDGE] = np.where(np.isfinite(run.judge_score), run.judge_score, np.nan)
    measures |= run.metrics
    for measure, values in measures.items():
        scores = of.regraded(values)
        answered = np.isfinite(scores).any(axis=0)
        budgets, scores = of.own.budgets[answered], scores[:, answered]
        scores = scores[np.isfinite(scores).all(axis=1)]
        if len(budgets) < 2 or not len(scores):
            continue
        means = scores.mean(axis=0)
        peak = int(means.argmax())
        level = 1 - (1 - LEVEL) / (len(budgets) - 1)
        change = measure_interval(
            (scores[:, -1] - scores[:, peak]).tolist(), seed=seed, level=level
        )
        falls = peak < len(budgets) - 1 and change.high < 0
        values_of_row = (
            name, measure, int(budgets[peak]), float(means[peak]), int(budgets[-1]),
            float(means[-1]), change.value, change.low, change.high, change.method, falls,
            len(scores),
        )  # fmt: skip
        yield dict(zip(PEAKS, values_of_row, strict=True))
