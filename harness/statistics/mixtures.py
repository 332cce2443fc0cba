"""Mixtures over prompts: what prompts that each have a rate of their own have in common.

The outcomes of one prompt say little of its rate; those of all prompts say much of how rates are
spread. Here the spread is a family with two to five parameters, fitted by maximum likelihood over a
fixed grid; what a prompt's own rate is, is then known as a distribution over that grid (empirical
Bayes). Likelihoods over the grid are computed once, so refits on resampled prompts cost little.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import betainc, expit, log_expit, logit, ndtr, xlog1py, xlogy

from harness.statistics.intervals import Floats, Ints

EDGES: Floats = np.concatenate(
    [[0.0], np.geomspace(1e-5, 0.04, 16), np.linspace(0.08, 0.92, 22), [0.96, 0.98, 0.99, 1.0]]
)
"""Ends of the cells of a grid of rates: finest near 0, where large budgets are decided."""

RATES: Floats = np.concatenate([[0.0], (EDGES[1:] + EDGES[:-1]) / 2])
"""A grid of rates: exactly 0, then the middle of each cell; (Q,)."""

LEVELS: Floats = np.linspace(-9.0, 9.0, 37)
SLOPES: Floats = np.linspace(-2.0, 3.0, 21)
GRID: Floats = np.stack([a.ravel() for a in np.meshgrid(LEVELS, SLOPES, indexing="ij")])
"""A grid of logistic lines: level and slope, (2, Q)."""

Family = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Mixture:
    """A fitted mixture.

    Attributes:
        likelihood: Of each different prompt's outcomes at each point of the grid, up to a factor a
            prompt; (U, Q).
        place: Which of those each prompt is, (P,).
        family: The family that was fitted.
        masses: The fitted distribution over the grid, (Q,).
        parameters: The family's.
    """

    likelihood: Floats
    place: Ints
    family: Family
    masses: Floats
    parameters: Floats

    def means(self, values: Floats) -> Floats:
        """Return each prompt's posterior mean of values on the grid, (Q, …) to (P, …)."""
        means: Floats = np.tensordot(self._posterior, values, 1)[self.place]
        return means

    def quantiles(self, shares: Floats) -> Floats:
        """Return the rates below which shares of each prompt's posterior lie, (K,) to (P, K)."""
        cumulative = self._posterior.cumsum(axis=1)
        below = (cumulative[:, None, :] < shares[:, None] * cumulative[:, -1:, None]).sum(axis=-1)
        rates: Floats = RATES[np.minimum(below, len(RATES) - 1)][self.place]
        return rates

    @property
    def _posterior(self) -> Floats:
        joint = self.likelihood * self.masses
        rows: Floats = joint / joint.sum(axis=1, keepdims=True)
        return rows

    @property
    def evidence(self) -> float:
        """Log-likelihood less the price of the parameters (half of Schwarz's criterion, BIC)."""
        logs = np.log((self.likelihood @ self.masses)[self.place])
        return float(logs.sum() - len(self.parameters) / 2 * np.log(len(logs)))

    def refitted(self, weights: Floats) -> Mixture:
        """Return the mixture fitted again where prompts count otherwise, (P,)."""
        best = _maximum(self.likelihood, self.place, self.family, self.parameters, weights)
        return replace(self, masses=self.family(best), parameters=best)


def fit_rates(successes: npt.ArrayLike, trials: npt.ArrayLike, mean: float = 0.5) -> Mixture:
    """Fit beta distributed rates, with prompts that never succeed where the outcomes ask for them.

    Args:
        successes: Of each prompt, (P,).
        trials: Likewise.
        mean: Where the fit begins.
    """
    outcomes, start = binomial(successes, trials), (float(logit(mean)), 1.0)
    alone = fit(outcomes, beta, start)
    beside = fit(outcomes, beta_or_never, (*start, -3.0))
    return max(alone, beside, key=lambda mixture: mixture.evidence)


def fit(log_likelihood: Floats, family: Family, start: npt.ArrayLike) -> Mixture:
    """Fit a family by maximum likelihood.

    Args:
        log_likelihood: Of each prompt's outcomes at each point of the grid, (P, Q).
        family: From parameters to masses over the grid, which sum to 1.
        start: Parameters to begin with.
    """
    likelihood, place = np.unique(
        np.exp(log_likelihood - log_likelihood.max(axis=1, keepdims=True)),
        axis=0, return_inverse=True,
    )  # fmt: skip
    place = place.ravel()
    best = _maximum(likelihood, place, family, np.asarray(start, float), np.ones(len(place)))
    return Mixture(likelihood, place, family, family(best), best)


def _maximum(
    likelihood: Floats, place: Ints, family: Family, start: Floats, weights: Floats
) -> Floats:
    times = np.bincount(place, weights=weights, minlength=len(likelihood))

    def loss(parameters: Floats) -> float:
        # A weak pull keeps parameters in bounds that the outcomes do not determine.
        pull = 0.01 * float(np.square(parameters - start).sum())
        return -float(times @ np.log(likelihood @ family(parameters) + 1e-300)) + pull

    best: Floats = minimize(loss, start, method="L-BFGS-B", options={"ftol": 1e-7}).x
    return best


def beta(parameters: Floats) -> Floats:
    """Masses of a beta distribution over `RATES`: logit of its mean, logarithm of a + b."""
    mean, size = expit(parameters[0]), np.exp(np.clip(parameters[1], -5.0, 8.0))
    cells = np.diff(betainc(mean * size + 1e-6, (1 - mean) * size + 1e-6, EDGES))
    return np.concatenate([[0.0], cells])


def beta_or_never(parameters: Floats) -> Floats:
    """Masses of `beta` beside a share of prompts whose rate is 0 (third: logit of the share)."""
    never = expit(parameters[2])
    masses: Floats = (1 - never) * beta(parameters[:2])
    masses[0] = never
    return masses


def normal_lines(parameters: Floats) -> Floats:
    """Masses of independent normal levels and slopes over `GRID`.

    Args:
        parameters: Mean level, logarithm of its deviation, mean slope, logarithm of its deviation.
    """
    level = _normal(LEVELS, parameters[0], np.exp(np.clip(parameters[1], -4.0, 3.0)))
    slope = _normal(SLOPES, parameters[2], np.exp(np.clip(parameters[3], -4.0, 2.0)))
    masses: Floats = np.outer(level, slope).ravel()
    return masses


def _normal(points: Floats, mean: float, deviation: float) -> Floats:
    edges = np.concatenate([[-np.inf], (points[1:] + points[:-1]) / 2, [np.inf]])
    cells: Floats = np.diff(ndtr((edges - mean) / deviation))
    return cells


def binomial(successes: npt.ArrayLike, trials: npt.ArrayLike) -> Floats:
    """Return the log-likelihood of each prompt's outcomes at each of `RATES`, (P, Q).

    Outcomes have an order here, so there is no binomial coefficient, and it does not matter by
    what rule the drawing stopped.
    """
    good = np.asarray(successes, dtype=float)[:, None]
    bad = np.asarray(trials, dtype=float)[:, None] - good
    likelihood: Floats = xlogy(good, RATES) + xlog1py(bad, -RATES)
    return np.maximum(likelihood, -1e4)


def logistic(
    height: Floats, correct: npt.NDArray[np.bool_], known: npt.NDArray[np.bool_]
) -> Floats:
    """Return the log-likelihood of each prompt's outcomes at each line of `GRID`, (P, Q).

    Args:
        height: What the lines are over, (P, D).
        correct: The outcomes, (P, D).
        known: Which of them there are, (P, D).
    """
    total = np.zeros((len(height), GRID.shape[1]))
    for column in range(height.shape[1]):  # one draw at a time: (P, D, Q) would be gigabytes
        line = GRID[0] + height[:, column, None] * GRID[1]
        signed = np.where(correct[:, column, None], line, -line)
        total += np.where(known[:, column, None], log_expit(signed), 0.0)
    return total
