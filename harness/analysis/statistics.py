"""Intervals for scores. Prompts are the resampling unit: images of one prompt are not independent.

Every interval says which method made it, because the usual one does not always exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from harness.analysis.resampling import LEVEL, RESAMPLES, Bands, Floats, Ints, bca

__all__ = [
    "LEVEL",
    "RESAMPLES",
    "Estimate",
    "filled",
    "macro_bands",
    "macro_interval",
    "mean_bands",
    "mean_interval",
    "measure_interval",
    "wilson",
]

BCA, STRATIFIED, WILSON = "BCa bootstrap", "BCa bootstrap, by tag", "Wilson"


@dataclass(frozen=True)
class Estimate:
    """A score and its interval.

    Attributes:
        value: The score.
        low: Lower end of the interval.
        high: Upper end.
        method: "BCa bootstrap", "BCa bootstrap, by tag" (prompts resampled within tags), or
            "Wilson".
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
    return Estimate(
        float(bands.value[0]), float(bands.low[0]), float(bands.high[0]), str(methods[0])
    )


def measure_interval(values: Sequence[float], *, seed: int = 0, level: float = LEVEL) -> Estimate:
    """Mean over prompts of numbers on any scale, with a seeded BCa bootstrap interval.

    Where BCa does not exist there is no interval: its ends are NaN and its method is "".

    Args:
        values: One number a prompt.
        seed: Of the resampling.
        level: Nominal coverage.
    """
    bands = bca(np.asarray(values, dtype=float)[:, None], seed=seed, level=level)
    low, high = float(bands.low[0]), float(bands.high[0])
    exists = bool(np.isfinite(low) and np.isfinite(high))
    return Estimate(float(bands.value[0]), low, high, BCA if exists else "")


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
    bands, methods = macro_bands(np.concatenate(arrays)[:, None], strata, seed=seed, level=level)
    return Estimate(
        float(bands.value[0]), float(bands.low[0]), float(bands.high[0]), str(methods[0])
    )


def mean_bands(
    values: Floats, *, seed: int = 0, level: float = LEVEL
) -> tuple[Bands, npt.NDArray[np.str_]]:
    """`mean_interval` for many columns of scores at once.

    Args:
        values: Shape (prompts, columns), between 0 and 1. A column is over the prompts that are
            known in it (not NaN).
        seed: Of the resampling.
        level: Nominal coverage.

    Returns:
        The bands, and the method of each column's.
    """
    return _over_known(values, None, seed, level)


def macro_bands(
    values: Floats, strata: Sequence[Ints], *, seed: int = 0, level: float = LEVEL
) -> tuple[Bands, npt.NDArray[np.str_]]:
    """`macro_interval` for many columns of scores at once; `strata` are the tags' row numbers."""
    return _over_known(values, strata, seed, level)


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


def _over_known(
    values: Floats, strata: Sequence[Ints] | None, seed: int, level: float
) -> tuple[Bands, npt.NDArray[np.str_]]:
    bands, counts = known_bca(values, strata, seed=seed, level=level)
    return filled(bands, counts, BCA if strata is None else STRATIFIED, level)


def filled(
    bands: Bands, counts: Ints, method: str, level: float
) -> tuple[Bands, npt.NDArray[np.str_]]:
    """Bands with Wilson's interval where the bootstrap has none, and the method of each.

    Args:
        bands: The bands.
        counts: Prompts that each column is over, (columns,).
        method: The bootstrap's name.
        level: Nominal coverage.
    """
    low, high = bands.low.copy(), bands.high.copy()
    known = np.isfinite(bands.value)
    methods = np.where(known, method, "")
    for column in np.flatnonzero(known & ~(np.isfinite(low) & np.isfinite(high))):
        # Means of replicates may overshoot 1 by a rounding error.
        n = int(counts[column])
        successes = float(np.clip(bands.value[column], 0.0, 1.0)) * n
        low[column], high[column] = wilson(successes, n, level)
        methods[column] = WILSON
    return Bands(bands.value, low, high), methods
