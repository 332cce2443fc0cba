"""Intervals for scores. Prompts are the resampling unit: images of one prompt are not independent.

Every interval says which method made it, because the usual one does not always exist.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A score and its interval.

    Attributes:
        value: The score.
        low: Lower end of the interval.
        high: Upper end.
        method: "BCa bootstrap", "stratified bootstrap", or "Wilson".
    """

    value: float
    low: float
    high: float
    method: str


def wilson(successes: float, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Wilson's score interval for a proportion (Wilson 1927).

    Args:
        successes: Number of successes; may be fractional for means of replicates.
        n: Number of trials, at least 1.
        level: Nominal coverage.
    """
    z = float(stats.norm.ppf(0.5 + level / 2))
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, centre - float(half)), min(1.0, centre + float(half))


def mean_interval(values: Sequence[float], *, seed: int = 0, level: float = LEVEL) -> Estimate:
    """Mean over prompts with a seeded BCa bootstrap interval (Efron 1987).

    BCa does not exist when all values are equal, or for fewer than three; then the interval is
    Wilson's, treating the values' sum as successes, and the method says so.

    Args:
        values: One score between 0 and 1 a prompt (the mean over its replicates).
        seed: Of the resampling.
        level: Nominal coverage.

    Raises:
        ValueError: No values.
    """
    scores = np.asarray(values, dtype=float)
    if scores.size == 0:
        raise ValueError("no values to estimate a mean from")
    mean = float(scores.mean())
    if scores.size >= 3 and np.ptp(scores) > 0:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = stats.bootstrap(
                (scores,),
                np.mean,
                n_resamples=RESAMPLES,
                confidence_level=level,
                method="BCa",
                rng=np.random.default_rng(seed),
            ).confidence_interval
        if np.isfinite(found.low) and np.isfinite(found.high):
            return Estimate(mean, float(found.low), float(found.high), "BCa bootstrap")
    low, high = wilson(float(scores.sum()), scores.size, level)
    return Estimate(mean, low, high, "Wilson")


def macro_interval(
    groups: Sequence[Sequence[float]], *, seed: int = 0, level: float = LEVEL
) -> Estimate:
    """Mean of group means, with a bootstrap that resamples prompts within each group.

    A percentile interval. Where every group is constant it has no width; then Wilson's is given,
    for as many trials as there are prompts.

    Args:
        groups: The scores of each tag's prompts.
        seed: Of the resampling.
        level: Nominal coverage.

    Raises:
        ValueError: No group, or an empty one.
    """
    arrays = [np.asarray(group, dtype=float) for group in groups]
    if not arrays or any(array.size == 0 for array in arrays):
        raise ValueError("every group needs at least one value")
    value = float(np.mean([array.mean() for array in arrays]))
    if all(np.ptp(array) == 0 for array in arrays):
        n = sum(array.size for array in arrays)
        low, high = wilson(value * n, n, level)
        return Estimate(value, low, high, "Wilson")
    rng = np.random.default_rng(seed)
    resampled: npt.NDArray[np.float64] = np.mean(
        [rng.choice(array, (RESAMPLES, array.size)).mean(axis=1) for array in arrays], axis=0
    )
    tail = (1 - level) / 2
    low, high = (float(q) for q in np.quantile(resampled, [tail, 1 - tail]))
    return Estimate(value, low, high, "stratified bootstrap")
