"""The bootstrap over prompts, for many statistics at once.

A curve has thousands of points and each wants an interval. Resampling the prompts once, as
counts, turns the bootstrap of all points into one matrix product: `counts @ values`. The
resamples are the same for every point, so neighbouring intervals do not jitter apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

RESAMPLES = 2000
LEVEL = 0.95

_EQUAL = 1e-6
"""Resampled means (single precision) closer than this to the mean count as equal to it."""


@dataclass(frozen=True)
class Bands:
    """Means of some columns with their intervals.

    Attributes:
        value: Mean of each column, shape (columns,).
        low: Lower ends; NaN where the method does not exist.
        high: Upper ends; NaN likewise.
    """

    value: Floats
    low: Floats
    high: Floats


@lru_cache(maxsize=64)
def resamples(prompts: int, seed: int, stratum: int = 0) -> npt.NDArray[np.float32]:
    """Weights of `RESAMPLES` resamples of some prompts with replacement.

    Args:
        prompts: How many there are.
        seed: Of the resampling.
        stratum: Strata of one seed are resampled independently.

    Returns:
        Shape (RESAMPLES, prompts); every row sums to 1. Read-only, since it is shared.
    """
    rng = np.random.default_rng([seed, stratum])
    picks = rng.integers(0, prompts, (RESAMPLES, prompts))
    flat = (picks + np.arange(RESAMPLES)[:, None] * prompts).ravel()
    counts = np.bincount(flat, minlength=RESAMPLES * prompts).reshape(RESAMPLES, prompts)
    weights = (counts / prompts).astype(np.float32)
    weights.setflags(write=False)
    return weights


def resampled_means(values: Floats, seed: int, stratum: int = 0) -> npt.NDArray[np.float32]:
    """Means of every column over every resample.

    Args:
        values: Shape (prompts, columns).
        seed: Of the resampling.
        stratum: See `resamples`.

    Returns:
        Shape (columns, RESAMPLES): a column's resamples lie together, as sorting likes them.
    """
    weights = resamples(len(values), seed, stratum)
    product: npt.NDArray[np.float32] = values.T.astype(np.float32) @ weights.T
    return product


def bca(
    values: Floats, means: npt.NDArray[np.float32] | None = None, *, seed: int, level: float
) -> Bands:
    """Mean of every column with its BCa bootstrap interval.

    Efron (1987), "Better bootstrap confidence intervals", JASA 82:171. The acceleration is the
    jackknife's, which for a mean is a sixth of the values' skewness over the root of n; resamples
    equal to the mean count half in the bias correction, as in `scipy.stats.bootstrap`.

    Args:
        values: Shape (prompts, columns).
        means: The columns' resampled means if they are known already.
        seed: Of the resampling.
        level: Nominal coverage.

    Returns:
        Ends are NaN for columns where BCa does not exist: fewer than three prompts, all values
        equal, or every resample on one side of the mean.
    """
    n = len(values)
    value = values.mean(axis=0)
    nothing = np.full_like(value, np.nan)
    if n < 3:
        return Bands(value, nothing, nothing.copy())
    if means is None:
        means = resampled_means(values, seed)
    deviations = values - value
    squares = (deviations**2).sum(axis=0)
    varied = squares > 1e-18 * n
    with np.errstate(divide="ignore", invalid="ignore"):
        acceleration = (deviations**3).sum(axis=0) / (6 * squares**1.5)
        below = (means < (value - _EQUAL)[:, None]).mean(axis=1)
        above = (means > (value + _EQUAL)[:, None]).mean(axis=1)
        bias = ndtri(below + (1 - below - above) / 2)
        ends = np.array([[(1 - level) / 2], [(1 + level) / 2]])
        z = np.asarray(ndtri(ends)) + bias
        shares = ndtr(bias + z / (1 - acceleration * z))
    shares[:, ~varied] = np.nan
    low, high = quantiles(np.sort(means, axis=1), shares)
    return Bands(value, low, high)


def quantiles(ordered: npt.NDArray[np.float32], shares: Floats) -> Floats:
    """Quantiles of sorted rows, each row at shares of its own, interpolated linearly.

    Args:
        ordered: Shape (rows, n), ascending along the rows.
        shares: Shape (any, rows), between 0 and 1 or NaN.

    Returns:
        Shape (any, rows); NaN where the share is.
    """
    place = np.nan_to_num(shares) * (ordered.shape[1] - 1)
    lower = np.floor(place).astype(np.int64)
    upper = np.minimum(lower + 1, ordered.shape[1] - 1)
    rows = np.arange(len(ordered))
    left, right = ordered[rows, lower].astype(float), ordered[rows, upper].astype(float)
    found: Floats = np.where(np.isnan(shares), np.nan, left + (right - left) * (place - lower))
    return found


def stratified(values: Floats, strata: Sequence[Ints], *, seed: int, level: float) -> Bands:
    """Mean of the strata's means with a percentile interval, prompts resampled within strata.

    Args:
        values: Shape (prompts, columns).
        strata: Row numbers of each stratum.
        seed: Of the resampling.
        level: Nominal coverage.

    Returns:
        Ends are NaN for columns that are constant within every stratum.
    """
    means = sum(
        (resampled_means(values[rows], seed, i + 1) for i, rows in enumerate(strata)),
        start=np.zeros((values.shape[1], RESAMPLES), np.float32),
    ) / len(strata)
    value: Floats = np.mean([values[rows].mean(axis=0) for rows in strata], axis=0)
    tail = (1 - level) / 2
    shares = np.tile(np.array([[tail], [1 - tail]]), (1, values.shape[1]))
    spread = np.max([np.ptp(values[rows], axis=0) for rows in strata], axis=0)
    shares[:, spread <= 1e-9] = np.nan
    low, high = quantiles(np.sort(np.asarray(means, np.float32), axis=1), shares)
    return Bands(value, low, high)
