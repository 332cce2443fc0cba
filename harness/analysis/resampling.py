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
import pandas as pd
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


def bca(values: Floats, strata: Sequence[Ints] | None = None, *, seed: int, level: float) -> Bands:
    """Mean of every column, or of its strata's means, with the BCa bootstrap interval.

    Efron (1987), "Better bootstrap confidence intervals", JASA 82:171. Prompts are resampled
    within their strata. The acceleration is the jackknife's over prompts; for several samples it
    is that of Efron and Tibshirani (1993), "An Introduction to the Bootstrap", eq. 14.15 summed
    over samples, each prompt's influence being its deviation from its stratum's mean over the
    stratum's size. Resamples equal to the mean count half in the bias correction. Both as in
    `scipy.stats.bootstrap`.

    Args:
        values: Shape (prompts, columns).
        strata: Row numbers of each stratum, whose means count alike, in order of the strata's names
            (each is resampled by its place among them); by default one of all rows.
        seed: Of the resampling.
        level: Nominal coverage.

    Returns:
        Ends are NaN for columns where BCa does not exist: fewer than three prompts, all values of
        each stratum equal, or every resample on one side of the mean.
    """
    # In order of value, so that an interval hangs on the scores and never on who listed them how.
    parts = [np.sort(values[rows], axis=0) for rows in (strata or [np.arange(len(values))])]
    centres = [part.mean(axis=0) for part in parts]
    value: Floats = np.mean(centres, axis=0)
    nothing = np.full_like(value, np.nan)
    if sum(map(len, parts)) < 3:
        return Bands(value, nothing, nothing.copy())
    alone = len(parts) == 1
    means = np.zeros((values.shape[1], RESAMPLES), np.float32)
    squares, cubes = np.zeros_like(value), np.zeros_like(value)
    for number, (part, centre) in enumerate(zip(parts, centres, strict=True)):
        means += resampled_means(part, seed, 0 if alone else number + 1) / len(parts)
        influence = (part - centre) / (len(part) * len(parts))
        squared = influence * influence
        squares += squared.sum(axis=0)
        # A power of three would call the general power for every element.
        cubes += np.einsum("ij,ij->j", squared, influence)
    varied = squares * len(values) > 1e-18
    means.sort(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        acceleration = cubes / (6 * squares**1.5)
        below = np.count_nonzero(means < _single(value - _EQUAL), axis=1) / RESAMPLES
        above = np.count_nonzero(means > _single(value + _EQUAL), axis=1) / RESAMPLES
        bias = ndtri(below + (1 - below - above) / 2)
        ends = np.array([[(1 - level) / 2], [(1 + level) / 2]])
        z = np.asarray(ndtri(ends)) + bias
        shares = ndtr(bias + z / (1 - acceleration * z))
    shares[:, ~varied] = np.nan
    low, high = quantiles(means, shares)
    return Bands(value, low, high)


def _single(values: Floats) -> npt.NDArray[np.float32]:
    """A column in the resamples' precision, which compares twice as fast."""
    column: npt.NDArray[np.float32] = values.astype(np.float32)[:, None]
    return column


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
    result: Floats = np.where(np.isnan(shares), np.nan, left + (right - left) * (place - lower))
    return result


def ranks(values: Floats) -> Floats:
    """Return the rank of each value among all, from 1; equal values share their mean rank."""
    # Importing scipy.stats for this would take half a second.
    return np.asarray(pd.Series(values).rank(), dtype=np.float64)
