"""Scores with intervals: the bootstrap over prompts, for one mean or for thousands at once.

Prompts are the resampling unit, since images of one prompt are not independent. Resampling them
once, as counts, turns the bootstrap of all points of a curve into one matrix product: `counts @
values`. The resamples are the same for every point, so neighbouring intervals do not jitter apart.
Every interval says which method made it, because the usual one does not always exist.
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
Bools = npt.NDArray[np.bool_]

RESAMPLES = 2000
LEVEL = 0.95

BCA, STRATIFIED, WILSON = "BCa bootstrap", "BCa bootstrap, by tag", "Wilson"

_EQUAL = 1e-6
"""Resampled means (single precision) closer than this to the mean count as equal to it."""


@dataclass(frozen=True)
class Estimate:
    """A score and its interval.

    Attributes:
        value: The score.
        low: Lower end of the interval.
        high: Upper end.
        method: `BCA`, `STRATIFIED` (prompts resampled within tags), or `WILSON`.
    """

    value: float
    low: float
    high: float
    method: str


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

    def first(self, method: str) -> Estimate:
        """Return the first column's, whose interval is by a method."""
        return Estimate(float(self.value[0]), float(self.low[0]), float(self.high[0]), method)

    @property
    def exists(self) -> npt.NDArray[np.bool_]:
        """True for the columns that have an interval, (columns,)."""
        return np.isfinite(self.low) & np.isfinite(self.high)


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


def wilson(successes: float, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Wilson's score interval for a proportion (Wilson 1927).

    Args:
        successes: Number of successes; may be fractional for means of replicates.
        n: Number of trials, at least 1.
        level: Nominal coverage.
    """
    z = float(ndtri(0.5 + level / 2))
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
    bands, methods = mean_bands(scores[:, None], seed=seed, level=level)
    return bands.first(str(methods[0]))


def measure_interval(values: Sequence[float], *, seed: int = 0, level: float = LEVEL) -> Estimate:
    """Return `mean_interval` for numbers on any scale: where BCa does not exist there is none.

    Its ends are then NaN and its method is "".
    """
    bands = bca(np.asarray(values, dtype=float)[:, None], seed=seed, level=level)
    return bands.first(BCA if bands.exists[0] else "")


def macro_interval(
    groups: Sequence[Sequence[float]], *, seed: int = 0, level: float = LEVEL
) -> Estimate:
    """Mean of group means, with a seeded BCa bootstrap that resamples prompts within each group.

    Where every group is constant, or for fewer than three prompts, BCa does not exist; then the
    interval is Wilson's for as many trials as there are prompts, and the method says so.

    Args:
        groups: The scores of each tag's prompts, in order of the tags' names.
        seed: Of the resampling.
        level: Nominal coverage.

    Raises:
        ValueError: No group, or an empty one.
    """
    arrays = [np.asarray(group, dtype=float) for group in groups]
    if not arrays or any(array.size == 0 for array in arrays):
        raise ValueError("every group needs at least one value")
    ends = np.cumsum([array.size for array in arrays])
    strata = [np.arange(end - a.size, end) for end, a in zip(ends, arrays, strict=True)]
    bands, methods = mean_bands(np.concatenate(arrays)[:, None], strata, seed=seed, level=level)
    return bands.first(str(methods[0]))


def mean_bands(
    values: Floats, strata: Sequence[Ints] | None = None, *, seed: int = 0, level: float = LEVEL
) -> tuple[Bands, npt.NDArray[np.str_]]:
    """Return `mean_interval`, or with strata `macro_interval`, of many columns of scores at once.

    Args:
        values: Shape (prompts, columns), between 0 and 1. A column is over the prompts that are
            known in it (not NaN).
        strata: Row numbers of each tag's prompts.
        seed: Of the resampling.
        level: Nominal coverage.

    Returns:
        The bands, and the method of each column's.
    """
    bands, counts = known_bca(values, strata, seed=seed, level=level)
    low, high = bands.low.copy(), bands.high.copy()
    known = np.isfinite(bands.value)
    methods = np.where(known, BCA if strata is None else STRATIFIED, "")
    for column in np.flatnonzero(known & ~bands.exists):
        # Means of replicates may overshoot 1 by a rounding error.
        n = int(counts[column])
        successes = float(np.clip(bands.value[column], 0.0, 1.0)) * n
        low[column], high[column] = wilson(successes, n, level)
        methods[column] = WILSON
    return Bands(bands.value, low, high), methods


def known_bca(
    values: Floats, strata: Sequence[Ints] | None = None, *, seed: int, level: float
) -> tuple[Bands, Ints]:
    """`bca` of every column over the rows that are known in it (not NaN).

    Args:
        values: Shape (prompts, columns).
        strata: As of `bca`; one without a known row is left out of the mean.
        seed: Of the resampling.
        level: Nominal coverage.

    Returns:
        The bands, NaN where no row is known, and how many rows are, (columns,).
    """
    known = np.isfinite(values)
    counts = known.sum(axis=0)
    partly = (counts > 0) & (counts < len(values))
    if not partly.any():
        return bca(values, strata, seed=seed, level=level), counts
    parts = np.full((3, values.shape[1]), np.nan)
    patterns, which = np.unique(known, axis=1, return_inverse=True)
    for number, pattern in enumerate(patterns.T):
        columns = np.flatnonzero(which.ravel() == number)
        rows = np.flatnonzero(pattern)
        if not len(rows):
            continue
        place = np.cumsum(pattern) - 1
        among = None if strata is None else [place[s[pattern[s]]] for s in strata]
        among = None if among is None else [s for s in among if len(s)]
        bands = bca(values[np.ix_(rows, columns)], among, seed=seed, level=level)
        parts[:, columns] = bands.value, bands.low, bands.high
    return Bands(*parts), counts


def mean_of(values: Floats) -> Floats:
    """Mean over rows, (n, K) to (K,)."""
    return np.asarray(values.mean(axis=0))


def known_mean(values: Floats) -> Floats:
    """Mean over the rows that are known (not NaN), (n, K) to (K,); NaN where none is."""
    known = np.isfinite(values)
    if known.all():
        return mean_of(values)
    with np.errstate(invalid="ignore"):
        means: Floats = np.where(known, values, 0.0).sum(axis=0) / known.sum(axis=0)
    return means


def ranks(values: Floats) -> Floats:
    """Return the rank of each value among all, from 1; equal values share their mean rank."""
    # Importing scipy.stats for this would take half a second.
    return np.asarray(pd.Series(values).rank(), dtype=np.float64)
