"""Paired statistics: two runs over the same prompts and noise, compared prompt by prompt.

Sharing prompts and seeds takes the prompts' difficulty out of the comparison; what is left is
smaller than the two runs' own intervals suggest, so those must not be compared by eye.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr, ndtri

from harness.statistics.intervals import (
    BCA,
    LEVEL,
    STRATIFIED,
    Estimate,
    Floats,
    Ints,
    bca,
    wilson,
)

NEWCOMBE = "Newcombe, paired"
MCNEMAR = "exact McNemar"
SIGN_FLIP = "sign flips over prompts"
FLIPS = 20_000
POWER = 0.8


@dataclass(frozen=True)
class PairedTest:
    """A paired test of two runs.

    Attributes:
        wins: Prompts on which the second run is better.
        losses: Prompts on which it is worse.
        p: Two-sided p-value.
        method: "exact McNemar", or "sign flips over prompts" where scores are no yes or no.
    """

    wins: int
    losses: int
    p: float
    method: str


def difference(
    first: Floats,
    second: Floats,
    tags: Sequence[Ints] | None = None,
    *,
    seed: int = 0,
    level: float = LEVEL,
) -> Estimate:
    """Mean of second minus first, with a BCa bootstrap interval over prompts.

    Where BCa does not exist (all differences equal, or fewer than three prompts) the interval
    is Newcombe's for paired proportions over prompts, and the method says so.

    Args:
        first: Scores between 0 and 1, one a prompt.
        second: The other run's, in the same order.
        tags: Row numbers of each tag's prompts, for the difference of the means over tags; prompts
            are resampled within each.
        seed: Of the resampling.
        level: Nominal coverage.

    Raises:
        ValueError: No prompts.
    """
    if first.size == 0:
        raise ValueError("no common prompts to compare")
    bands = bca((second - first)[:, None], tags, seed=seed, level=level)
    if bands.exists[0]:
        return bands.first(BCA if tags is None else STRATIFIED)
    return Estimate(float(bands.value[0]), *newcombe(first, second, level=level), NEWCOMBE)


def newcombe(first: Floats, second: Floats, *, level: float = LEVEL) -> tuple[float, float]:
    """Score interval for the difference of paired proportions (second minus first).

    Newcombe (1998), "Improved confidence intervals for the difference between binomial
    proportions based on paired data", Statistics in Medicine 17:2635, method 10 (square and
    add, with the continuity-corrected correlation).
    """
    n = first.size
    both, neither = float((first * second).sum()), float(((1 - first) * (1 - second)).sum())
    only_first = float((first * (1 - second)).sum())
    only_second = float(((1 - first) * second).sum())
    p1, p2 = float(first.mean()), float(second.mean())
    l1, u1 = wilson(p1 * n, n, level)
    l2, u2 = wilson(p2 * n, n, level)
    margins = (both + only_first) * (only_second + neither)
    margins *= (both + only_second) * (only_first + neither)
    product = both * neither - only_first * only_second
    if product > 0:
        product = max(product - n / 2, 0.0)
    phi = product / np.sqrt(margins) if margins > 0 else 0.0

    def reach(a: float, b: float) -> float:
        return float(np.sqrt(max(0.0, a * a - 2 * phi * a * b + b * b)))

    gap = p2 - p1
    return gap - reach(p2 - l2, u1 - p1), gap + reach(u2 - p2, p1 - l1)


def paired_test(
    first: Floats, second: Floats, tags: Sequence[Ints] | None = None, *, seed: int = 0
) -> PairedTest:
    """Test of no difference between two runs over the same prompts, two-sided.

    With one search a prompt every score is 0 or 1 and the test is McNemar's, exact (McNemar
    1947; the binomial test of the discordant pairs). With replicates the searches of a prompt
    are not independent, which McNemar's test would ignore; then prompts' differences change
    sign at random (a randomisation test; `FLIPS` seeded flips, the observed one included).

    Args:
        first: Scores, one a prompt.
        second: The other run's, in the same order.
        tags: Row numbers of each tag's prompts, for a test of the means over tags, in which a
            prompt of a small tag weighs more; always by sign flips.
        seed: Of the sign flips.
    """
    gaps = second - first
    wins, losses = int((gaps > 0).sum()), int((gaps < 0).sum())
    if tags is not None:
        weights = np.zeros_like(gaps)
        for rows in tags:
            weights[rows] = gaps.size / (len(tags) * len(rows))
        gaps = weights * gaps
    elif np.isin(first, (0.0, 1.0)).all() and np.isin(second, (0.0, 1.0)).all():
        # Under no difference the discordant pairs are tosses of a fair coin: twice the tail.
        p = min(1.0, 2 * float(bdtr(min(wins, losses), wins + losses, 0.5)))
        return PairedTest(wins, losses, p, MCNEMAR)
    return PairedTest(wins, losses, _flipped(gaps, seed), SIGN_FLIP)


def _flipped(gaps: Floats, seed: int) -> float:
    """Return how often the sum of some numbers of random sign is as extreme as theirs."""
    gaps = gaps[gaps != 0]
    least, extreme = abs(gaps.sum()) - 1e-9, 0
    for signs in np.array_split(_signs(gaps.size, seed), 40):  # as floats they fit into a cache
        extreme += int((np.abs(signs.astype(float) @ gaps) >= least).sum())
    return (extreme + 1) / FLIPS


@lru_cache(maxsize=4)
def _signs(count: int, seed: int) -> npt.NDArray[np.int8]:
    rng = np.random.default_rng([seed, 1])
    signs = rng.integers(0, 2, (FLIPS - 1, count), dtype=np.int8) * np.int8(2) - np.int8(1)
    signs.setflags(write=False)
    return signs


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given (Holm 1979, Scand. J. Statistics 6:65).

    Rejecting where the adjusted value is at most a level keeps the chance of any false rejection
    in the family at that level, whatever the tests' dependence.
    """
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    scaled = p[order] * np.arange(p.size, 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return [float(value) for value in adjusted]


def detectable(spread: float, n: int, *, level: float = LEVEL, power: float = POWER) -> float:
    """The smallest true difference that a two-sided test finds with the given power.

    Normal approximation: (z of the level + z of the power) · spread / √n (as in Miller 2024,
    "Adding error bars to evals", arXiv 2411.00640, section 5).

    Args:
        spread: Standard deviation of what is averaged over prompts: of the paired differences
            for a paired design; √(p₁(1−p₁) + p₂(1−p₂)) for an unpaired one.
        n: Prompts.
        level: One minus the significance level.
        power: Chance of finding it.
    """
    z = float(ndtri(0.5 + level / 2) + ndtri(power))
    return z * spread / float(np.sqrt(n))
