"""Every n from N draws: exact expectations over all subsets of n, without sampling any.

Where the draws of a search are independent and alike, any n of its N are as good a search of n
draws as any other. Averaging over all of them uses every draw for every n, where a prefix would
use the first n only. All functions take (S, N) arrays, one row a search, and return (S, N): the
column k is for n = k + 1. A search that drew nothing is a row without answers, and worth 0.

Which draw is rejected or accepted first, and which of equal scores comes first, is averaged over
the orders of the subset too: indices of independent draws are exchangeable.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from harness.statistics.intervals import Floats

Bools = npt.NDArray[np.bool_]


@lru_cache(maxsize=4)
def rank_weights(draws: int) -> Floats:
    """Chance that the draw of rank r among N is the best of a random subset of n.

    C(N−r, n−1) / C(N, n): the subset holds it, and n−1 of the N−r that rank below it. Built from
    n to n+1 by the ratio of neighbours, so no factorial overflows.

    Args:
        draws: N.

    Returns:
        Shape (N, N): rank (from 1) by n (from 1). Columns sum to 1.
    """
    below = draws - np.arange(1.0, draws + 1)
    weights = np.zeros((draws, draws))
    column = np.full(draws, 1.0 / draws)
    for n in range(1, draws + 1):
        weights[:, n - 1] = column
        if n < draws:
            column = column * (below - n + 1) * (n + 1) / (n * (draws - n))
    weights.setflags(write=False)
    return weights


@lru_cache(maxsize=4)
def hit_chances(draws: int) -> Floats:
    """Chance that a random subset of n of N draws holds at least one of c given draws.

    1 − C(N−c, n) / C(N, n), the unbiased pass@n (Chen et al. 2021, arXiv 2107.03374, eq. 1).

    Args:
        draws: N.

    Returns:
        Shape (N + 1, N): c (from 0) by n (from 1).
    """
    chances = np.zeros((draws + 1, draws))
    np.cumsum(rank_weights(draws), axis=0, out=chances[1:])
    np.minimum(chances, 1.0, out=chances)
    chances.setflags(write=False)
    return chances


def by_score(judge_score: Floats, value: Floats) -> Floats:
    """Expected grade of the best of n by the judge's score (best-of-n).

    Draws of equal score share the chance of being selected. A failed draw has the score minus
    infinity and grade 0, so it is only ever "selected" where every draw failed.
    """
    order = np.argsort(-judge_score, axis=1, kind="stable")
    ranked = np.take_along_axis(judge_score, order, axis=1)
    outcome = np.take_along_axis(value, order, axis=1).astype(float)
    # Ties: every run of equal scores gets the mean outcome of the run.
    fresh = np.ones(ranked.shape, dtype=bool)
    fresh[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    starts = np.flatnonzero(fresh.ravel())
    sizes = np.diff([*starts, ranked.size])
    means = np.add.reduceat(outcome.ravel(), starts) / sizes
    shared = np.repeat(means, sizes).reshape(ranked.shape)
    # Rounded, so that what is certain is 1 and not less by the last bit: compared with another
    # run's 1 it would count as a loss.
    weighted: Floats = shared @ rank_weights(ranked.shape[1])
    return weighted.round(12)


def by_oracle(value: Floats) -> Floats:
    """Expected highest grade of n: what a perfect judge would reach (pass@n of right and wrong).

    The sum over ranks of what a grade has over the next lower one, times the chance that the
    subset holds one of so high a rank.
    """
    ranked = -np.sort(-value.astype(float), axis=1)
    steps = ranked - np.pad(ranked[:, 1:], ((0, 0), (0, 1)))
    expected: Floats = steps @ hit_chances(value.shape[1])[1:]
    return expected


def at_random(value: Floats, answered: Bools) -> Floats:
    """Expected grade of a random one of n, failed draws set aside."""
    made = answered.sum(axis=1)
    expected: Floats = _mean(value, answered)[:, None] * hit_chances(value.shape[1])[made]
    return expected


def first_accepted(value: Floats, accepted: Bools, answered: Bools) -> Floats:
    """Expected grade of the first accepted of n; of the last answered one if none is accepted.

    The baseline of the Reflect-DiT paper (arXiv 2503.12271). In a random order the first
    accepted is any of the accepted, and the last any of the others, with equal chance.
    """
    chances = hit_chances(value.shape[1])
    rejected = answered & ~accepted
    any_accepted = chances[accepted.sum(axis=1)]
    any_answered = chances[answered.sum(axis=1)]
    good, fallback = (_mean(value, these)[:, None] for these in (accepted, rejected))
    expected: Floats = good * any_accepted + fallback * (any_answered - any_accepted)
    return expected


def draws_until_accepted(accepted: Bools) -> Floats:
    """Expected draws of a search that stops at the first accepted image, or after n."""
    chances = hit_chances(accepted.shape[1])[accepted.sum(axis=1)]
    survival = np.hstack([np.ones((len(chances), 1)), 1 - chances[:, :-1]])
    expected: Floats = np.cumsum(survival, axis=1)
    return expected


def _mean(value: Floats, these: Bools) -> Floats:
    """Mean grade of some draws of each search; 0 without any."""
    mean: Floats = np.where(these, value, 0.0).sum(axis=1) / np.maximum(these.sum(axis=1), 1)
    return mean
