"""How well one number orders another: rank correlation over prompts, area under a ROC curve."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.statistics.intervals import LEVEL, Floats, Ints, ranks, resamples


def correlation(one: Floats, other: Floats, prompts: Ints, *, seed: int = 0) -> dict[str, float]:
    """Return Spearman's correlation, its interval, and its mean within prompts.

    A resample counts the pairs of a prompt as often as it drew the prompt, in the ranks too.

    Args:
        one: One side of each pair.
        other: The other.
        prompts: Number of each pair's prompt, from 0 without gaps.
        seed: Of the resampling.
    """
    codes = [np.unique(side, return_inverse=True)[1].ravel() for side in (one, other)]
    count = int(prompts.max()) + 1
    value = _weighted(codes[0], codes[1], np.ones(len(one)))
    # In double precision, so that equal weights leave nothing of a constant side.
    resampled = [
        _weighted(codes[0], codes[1], weights[prompts].astype(float))
        for weights in resamples(count, seed)
    ]
    known = np.array(resampled)[np.isfinite(resampled)]
    tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    low, high = np.quantile(known, tails) if len(known) and count > 1 else (np.nan, np.nan)
    own = [_ranked(one[prompts == n], other[prompts == n]) for n in range(count)]
    within = [r for r in own if np.isfinite(r)]
    return {
        "spearman": value,
        "low": float(low),
        "high": float(high),
        "within": float(np.mean(within)) if within else float("nan"),
    }


def _ranked(one: Floats, other: Floats) -> float:
    return _pearson(ranks(one), ranks(other), np.ones(len(one)))


def _weighted(first: Ints, second: Ints, weights: Floats) -> float:
    ranks = []
    for codes in (first, second):
        mass = np.bincount(codes, weights)
        ranks.append((np.cumsum(mass) - mass / 2)[codes])
    return _pearson(ranks[0], ranks[1], weights)


def _pearson(one: Floats, other: Floats, weights: Floats) -> float:
    one, other = (side - np.average(side, weights=weights) for side in (one, other))
    spread = np.sqrt((weights * one**2).sum() * (weights * other**2).sum())
    return float((weights * one * other).sum() / spread) if spread > 1e-9 else float("nan")


def area(score: Floats, right: Any) -> float:
    """Return the area under the ROC curve; NaN where it has none."""
    finite = np.isfinite(score)
    score, right = score[finite], right[finite]
    positive, negative = int(right.sum()), int((~right).sum())
    if not positive or not negative or np.ptp(score) == 0:
        return float("nan")
    above = ranks(score)[right].sum() - positive * (positive + 1) / 2
    return float(above / (positive * negative))
