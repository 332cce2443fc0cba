"""What a judge is worth: its verdicts against scores, and what selecting by it gains.

A search that selects by a judge's score gains by that score whatever it is worth. What the same
choice gains by the scorer and by metrics that never steered it is its use; the ratio of the two,
each in standard deviations of its measure, is the transfer: 1 if all of the gain is real, 0 if the
judge was merely exploited.

Pruning and thresholds pay as far as a judge can tell from a preview how the image will end: its
rank correlation with the end says how far that is, step by step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from harness.analysis.curves import RunCurves
from harness.log import store
from harness.log.grades import GRADE, graded
from harness.records import whole_steps
from harness.runs.logged_run import LoggedRun, Part
from harness.statistics.correlation import area, correlation
from harness.statistics.intervals import (
    LEVEL,
    Floats,
    Ints,
    mean_interval,
    measure_interval,
    resampled_means,
)

JUDGE, SCORER = "judge's score", "scorer"

AGREEMENT = ["run", "tag", "right_accepted", "right_rejected", "wrong_accepted", "wrong_rejected",
             "agreement", "low", "high", "method", "auc", "prompts"]  # fmt: skip
ROC = ["run", "threshold", "right_above", "wrong_above"]
PEAKS = ["run", "measure", "peak_budget", "peak", "budget", "end", "change", "low", "high",
         "interval", "over_optimised", "prompts"]  # fmt: skip
TRANSFER = ["run", "measure", "gain", "low", "high", "deviation", "transfer", "least", "most"]

ROC_POINTS = 101


def agreement_table(
    runs: Sequence[LoggedRun], names: Sequence[str], *, seed: int = 0
) -> pd.DataFrame:
    """Hold the judge's verdicts against the scorer's, over all draws and by tag.

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
    return pd.DataFrame(rows, columns=AGREEMENT)


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
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=ROC)


def _judged(run: LoggedRun) -> Any:
    if not run.manifest.judged:
        return np.zeros_like(run.answered)
    return run.answered & run.scored & (run.index >= 0)


def peaks_table(
    curves: Sequence[RunCurves], names: Sequence[str], *, seed: int = 0
) -> pd.DataFrame:
    """Find the peak of every measure of selected images over budgets, and what follows it.

    A search that goes on past the peak of a measure that it does not select by exploits its judge.
    The peak is chosen after the fact among all budgets, so the interval is widened for as many
    (Bonferroni).

    Returns:
        One row a run and measure (the scorer, the judge's score, metrics) of runs with at least two
        budgets: `run`, `measure`, `peak_budget`, `peak`, the last `budget` and its value `end`,
        `change` (end minus peak, paired over prompts) with `low`, `high` and `interval`,
        `over_optimised` (whether the measure falls past its peak), `prompts`.
    """
    rows = [row for of, name in zip(curves, names, strict=True) for row in _peaks(of, name, seed)]
    return pd.DataFrame(rows, columns=PEAKS)


def _peaks(of: RunCurves, name: str, seed: int) -> Iterator[tuple[Any, ...]]:
    run = of.run
    measures = {SCORER: np.where(run.scored, run.value, np.nan)}
    if run.manifest.judged:
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
        yield (
            name, measure, int(budgets[peak]), float(means[peak]), int(budgets[-1]),
            float(means[-1]), change.value, change.low, change.high, change.method, falls,
            len(scores),
        )  # fmt: skip


def transfer_table(
    runs: Sequence[LoggedRun], names: Sequence[str], *, seed: int = 0
) -> pd.DataFrame:
    """Gains of selection by every measure, of runs that have metrics and a judge.

    Returns:
        One row a run and measure (`JUDGE` first, then `SCORER`, then metrics by name), `TRANSFER`:
        `gain`, what selected images have over the mean draw of their searches, a mean over
        prompts on the measure's own scale with its interval; `deviation`, the measure's standard
        deviation over draws; `transfer`, its gain over the judge's, each in deviations, with a
        percentile interval over prompts. NaN where it cannot be told: the judge's own gain is not
        clear of 0, or a measure is the same for all draws.
    """
    named = zip(runs, names, strict=True)
    rows = [row for run, name in named for row in _gain_rows(run, name, seed)]
    return pd.DataFrame(rows, columns=TRANSFER)


def _gain_rows(run: LoggedRun, name: str, seed: int) -> Iterator[tuple[Any, ...]]:
    judged = np.where(np.isfinite(run.judge_score) & run.answered, run.judge_score, np.nan)
    if not (run.metrics and run.manifest.judged):
        return
    scored = np.where(run.scored & run.answered, run.value, np.nan)
    measures = {JUDGE: judged, SCORER: scored}
    measures |= {key: np.where(run.answered, run.metrics[key], np.nan) for key in run.metrics}
    gains = {key: _gains(run, values) for key, values in measures.items()}
    known = np.isfinite(np.stack(list(gains.values()))).all(axis=0)
    if not known.any():
        return
    for key, values in measures.items():
        interval = measure_interval(gains[key][known].tolist(), seed=seed)
        transfer = _transfer(gains, measures, key, known, seed)
        deviation = float(np.nanstd(values))
        yield (
            name, key, interval.value, interval.low, interval.high, deviation, *transfer
        )  # fmt: skip


def _gains(run: LoggedRun, values: Floats) -> Floats:
    """Return the gain of selected images over the mean draw of their searches, by prompt, (P,)."""
    known = np.isfinite(values)
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    mean = np.where(known, values, 0.0).sum(axis=1, keepdims=True) / count
    return run.measured(values - mean)


def _transfer(
    gains: dict[str, Floats], measures: dict[str, Floats], key: str, known: Any, seed: int
) -> tuple[float, float, float]:
    deviations = [float(np.nanstd(measures[name])) for name in (key, JUDGE)]
    nothing = (float("nan"),) * 3
    if key == JUDGE or min(deviations) == 0:
        return nothing
    pairs = np.stack(
        [gains[name][known] / d for name, d in zip((key, JUDGE), deviations, strict=True)], axis=1
    )
    resampled = resampled_means(pairs, seed).astype(float)
    tails = np.array([(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    low, high = np.quantile(resampled[1], tails)
    if low <= 0 <= high:
        return nothing
    ratios = np.quantile(resampled[0] / resampled[1], tails)
    own, judge = pairs.mean(axis=0)
    return float(own / judge), float(ratios[0]), float(ratios[1])


COLUMNS = ("run", "judge", "step", "steps", "final", "spearman", "low", "high", "within", "pairs",
           "prompts")  # fmt: skip

_READ = ("prompt_id", "draw_id", "start", "stop", "judge_score", *GRADE, "metrics")


@dataclass(frozen=True)
class Pairs:
    """Previews with the images that their trajectories ended in.

    Attributes:
        prompt: Number of the prompt of each.
        step: After which step the preview was.
        preview: What each judge gave the preview, by the judge's name; NaN where unknown.
        final: What each gave the image, and the scorer, likewise.
    """

    prompt: Ints
    step: Ints
    preview: dict[str, Floats]
    final: dict[str, Floats]


def previews_table(
    runs: Sequence[LoggedRun], names: Sequence[str], *, seed: int = 0
) -> pd.DataFrame:
    """Rank correlations of previews with ends, of the runs that have any.

    Args:
        runs: The runs.
        names: What to call each.
        seed: Of the bootstrap.

    Returns:
        One row a run, judge (`JUDGE` and the metrics), step and measure of the final image (the
        same judge, and `SCORER`), `COLUMNS`: `spearman`, Spearman's correlation over all `pairs`,
        with a percentile interval, `prompts` resampled; `within`, the mean over prompts of the
        correlation among a prompt's own pairs, which is what a search chooses by. NaN where a side
        is the same for all.
    """
    rows = []
    for run, name in zip(runs, names, strict=True):
        steps = whole_steps(run.manifest.config["generator"].get("settings", {}))
        pairs = _pairs(run)
        rows += [] if pairs is None else [{"run": name, "steps": steps, **row}
                                          for row in _rows(pairs, seed)]  # fmt: skip
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _rows(pairs: Pairs, seed: int) -> Iterator[dict[str, Any]]:
    for judge, previews in pairs.preview.items():
        for step in np.unique(pairs.step):
            for final in (judge, SCORER):
                one, other = previews, pairs.final[final]
                chosen = (pairs.step == step) & np.isfinite(one) & np.isfinite(other)
                if not chosen.any():
                    continue
                prompts = np.unique(pairs.prompt[chosen], return_inverse=True)[1].ravel()
                yield {
                    "judge": judge,
                    "step": int(step),
                    "final": final,
                    **correlation(one[chosen], other[chosen], prompts, seed=seed),
                    "pairs": int(chosen.sum()),
                    "prompts": int(prompts.max()) + 1,
                }


def _pairs(run: LoggedRun) -> Pairs | None:
    parts = [pairs for part in run.parts for pairs in _pairs_of(part, run)]
    if not parts:
        return None
    frame = pd.DataFrame(parts)
    judged = run.manifest.judged
    names = [*([JUDGE] if judged else []), *run.metrics]
    return Pairs(
        frame["prompt"].to_numpy(np.int64),
        frame["step"].to_numpy(np.int64),
        {name: frame[f"preview {name}"].to_numpy(float) for name in names},
        {name: frame[f"final {name}"].to_numpy(float) for name in (*names, SCORER)},
    )


def _pairs_of(part: Part, run: LoggedRun) -> Iterator[dict[str, Any]]:
    """Yield what was said of each preview and of its end, one after the other."""
    table = store.read(part.folder.log, "candidates", _READ)
    if table["stop"].null_count == len(table):
        return
    places = {name: place for place, name in enumerate(run.prompts["prompt_id"])}
    rows = table.to_pylist()
    for row, value in zip(rows, graded(table).to_pylist(), strict=True):
        metrics = dict(row["metrics"] or ())
        values = {JUDGE: row["judge_score"], SCORER: value}
        values |= {name: metrics.get(name) for name in run.metrics}
        row["values"] = {name: np.nan if x is None else x for name, x in values.items()}
    by_id = {row["draw_id"]: row for row in rows}
    for row in rows:
        if row["stop"] is not None or row["prompt_id"] not in places:
            continue
        finals = {f"final {name}": value for name, value in row["values"].items()}
        earlier = row
        while (start := earlier["start"]) is not None and start["renoise"] is None:
            earlier = by_id[start["draw_id"]]
            previews = {f"preview {name}": value for name, value in earlier["values"].items()}
            yield {
                "prompt": places[row["prompt_id"]],
                "step": earlier["stop"],
                **finals,
                **previews,
            }
