"""Bootstrap intervals computed anew: the same resamples, gathered one by one in double precision.

Efron (1987), "Better bootstrap confidence intervals", JASA 82:171; for several strata the
acceleration of Efron and Tibshirani (1993), "An Introduction to the Bootstrap", eq. 14.15.
Resamples within a millionth of the mean count as equal to it, and half in the bias.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

Floats = npt.NDArray[np.float64]

RESAMPLES = 2000
LEVEL = 0.95
EQUAL = 1e-6

Interval = tuple[float, float]


@lru_cache(maxsize=64)
def _picks(size: int, seed: int, stratum: int) -> Floats:
    """How often each of some prompts is in each resample, (RESAMPLES, size)."""
    rng = np.random.default_rng([seed, stratum])
    counts = np.zeros((RESAMPLES, size))
    for row, picks in enumerate(rng.integers(0, size, (RESAMPLES, size))):
        np.add.at(counts[row], picks, 1.0)
    return counts


def bca(strata: Sequence[Floats], seed: int) -> list[Interval | None]:
    """The interval of the mean of the strata's means, for every column.

    Args:
        strata: The prompts' values of each stratum, (prompts, columns), in order of their names.
        seed: Of the resampling.

    Returns:
        Low and high end of each column; None where the bootstrap has none: fewer than three
        prompts, nothing varies, or every resample lies on one side of the mean.
    """
    columns = strata[0].shape[1]
    if sum(map(len, strata)) < 3:
        return [None] * columns
    means = np.zeros((RESAMPLES, columns))
    influence = []
    strata = [np.sort(values, axis=0) for values in strata]
    for number, values in enumerate(strata):
        picks = _picks(len(values), seed, 0 if len(strata) == 1 else number + 1)
        means += picks @ values / len(values) / len(strata)
        influence.append((values - values.mean(axis=0)) / (len(values) * len(strata)))
    pulled = np.concatenate(influence)
    centre = np.mean([values.mean(axis=0) for values in strata], axis=0)
    return [_column(means[:, c], float(centre[c]), pulled[:, c]) for c in range(columns)]


def _column(means: Floats, centre: float, influence: Floats) -> Interval | None:
    squares = float((influence**2).sum())
    if squares * len(influence) <= 1e-18:
        return None
    acceleration = float((influence**3).sum()) / (6 * squares**1.5)
    below = int((means < centre - EQUAL).sum())
    above = int((means > centre + EQUAL).sum())
    share = (below + (RESAMPLES - below - above) / 2) / RESAMPLES
    if not 0 < share < 1:
        return None
    bias = float(norm.ppf(share))
    ends = []
    for tail in ((1 - LEVEL) / 2, (1 + LEVEL) / 2):
        z = bias + float(norm.ppf(tail))
        ends.append(float(norm.cdf(bias + z / (1 - acceleration * z))))
    low, high = np.quantile(means, ends)
    return float(low), float(high)


def wilson(share: float, size: int) -> Interval:
    """Wilson's score interval (1927) of a share of some prompts: the roots of its quadratic."""
    z2 = float(norm.ppf(0.5 + LEVEL / 2)) ** 2
    roots = np.roots([size + z2, -(2 * size * share + z2), size * share**2])
    low, high = sorted(float(root.real) for root in roots)
    return max(0.0, low), min(1.0, high)


def detectable(share: float, size: int) -> float:
    """The difference to an independent run of as many prompts that is found with 80% power."""
    z = float(norm.ppf(0.975) + norm.ppf(0.8))
    return z * float(np.sqrt(2 * max(share * (1 - share), 0.0) / size))
