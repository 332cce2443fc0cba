"""Does what a judge gains by its own measure show in others? Selection against a random draw.

A search that selects by a judge's score gains by that score whatever it is worth. What the same
choice gains by the scorer and by metrics that never steered it is its use; the ratio of the two,
each in standard deviations of its measure, is the transfer: 1 if all of the gain is real, 0 if the
judge was merely exploited.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from harness.analysis.logged_run import LoggedRun
from harness.analysis.resampling import LEVEL, Floats, resampled_means
from harness.analysis.statistics import measure_interval

JUDGE, SCORER = "judge's score", "scorer"

COLUMNS = ("run", "measure", "gain", "low", "high", "deviation", "transfer", "least", "most")


def transfer_table(
    runs: Sequence[LoggedRun], names: Sequence[str], *, seed: int = 0
) -> pd.DataFrame:
    """Gains of selection by every measure, of runs that have metrics and a judge.

    Args:
        runs: The runs.
        names: What to call each.
        seed: Of the bootstrap.

    Returns:
        One row a run and measure (`JUDGE` first, then `SCORER`, then metrics by name), `COLUMNS`:
        `gain`, what selected images have over the mean draw of their searches, a mean over
        prompts on the measure's own scale with its interval; `deviation`, the measure's standard
        deviation over draws; `transfer`, its gain over the judge's, each in deviations, with a
        percentile interval over prompts. NaN where it cannot be told: the judge's own gain is not
        clear of 0, or a measure is the same for all draws.
    """
    rows = [row for run, name in zip(runs, names, strict=True) for row in _rows(run, name, seed)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _rows(run: LoggedRun, name: str, seed: int) -> Iterator[dict[str, Any]]:
    judged = np.where(np.isfinite(run.judge_score) & run.answered, run.judge_score, np.nan)
    if not run.metrics or run.manifest.config["judge"]["kind"] == "none":
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
        yield dict(
            zip(
                COLUMNS,
                (
                    name, key, interval.value, interval.low, interval.high,
                    float(np.nanstd(values)), *transfer,
                ),
                strict=True,
            )
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
