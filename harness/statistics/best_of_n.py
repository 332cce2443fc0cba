"""The score of best-of-n at budgets beyond the draws that there are: models and their fits.

Each prompt has a rate p at which its draws are right; p is beta distributed over prompts, which
makes counts beta-binomial; where the log asks for it, a share of prompts has p = 0. An oracle then
reaches 1 − E[(1 − p)^n] (pass@n of Chen et al. 2021, arXiv 2107.03374, beyond the draws there are;
Brown et al. 2024, arXiv 2407.21787, show that it is the spread of p, its mass near 0 above all,
that makes such curves grow slowly).

A judge that accepts right images at a rate t and wrong ones at a rate f, each beta distributed,
accepts at a = p·t + (1 − p)·f; the first accepted of n is right with chance
(p·t / a)(1 − (1 − a)^n) + (p(1 − t) / (1 − a))(1 − a)^n.

Where the best of n by the judge's score is selected, the chance that a draw is right is a logistic
line over its score (as a normal deviate by rank), with a level and a slope of the prompt's own; a
prompt's scores are normal, and the best of n has the largest of n of them.

What is predicted is the share of right images; grades between right and wrong are not modelled.
All three are predictions for the same prompts, searched anew, and all three are models.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit, ndtri

from harness.statistics import subsets
from harness.statistics.intervals import Bools, Floats, Ints, ranks
from harness.statistics.mixtures import (
    GRID,
    RATES,
    Mixture,
    beta,
    binomial,
    fit,
    fit_rates,
    logistic,
    normal_lines,
)

ORACLE, FIRST_ACCEPTED, BY_SCORE = "oracle", "first accepted", "best by the judge's score"
SELECTIONS = (ORACLE, FIRST_ACCEPTED, BY_SCORE)


@dataclass(frozen=True)
class PromptDraws:
    """Independent draws by prompt. P prompts, up to D draws each.

    Attributes:
        known: Whether there is an image with verdict and score, (P, D).
        correct: Whether the scorer finds it right.
        accepted: Whether the judge accepts it.
        score: The judge's score.
        is_judged: Whether there was a judge.
    """

    known: Bools
    correct: Bools
    accepted: Bools
    score: Floats
    is_judged: bool = True

    @property
    def number(self) -> int:
        """Draws that every prompt has at least."""
        return int(self.known.sum(axis=1).min())

    def sample(self, number: int, rng: np.random.Generator) -> PromptDraws:
        """Return a random choice of so many draws of each prompt."""
        order = np.argsort(np.where(self.known, rng.random(self.known.shape), 2.0), axis=1)
        columns = order[:, :number]
        return PromptDraws(
            np.take_along_axis(self.known, columns, axis=1),
            np.take_along_axis(self.correct, columns, axis=1),
            np.take_along_axis(self.accepted, columns, axis=1),
            np.take_along_axis(self.score, columns, axis=1),
            self.is_judged,
        )


class Model:
    """Predictions by selection, fitted to some draws.

    Attributes:
        selections: Which it makes: all, without a judge only the oracle's.
    """

    def __init__(self, draws: PromptDraws, selections: Collection[str] = SELECTIONS) -> None:
        self.draws = draws
        self.selections = [s for s in selections if draws.is_judged or s == ORACLE]
        known, correct, accepted = draws.known, draws.correct, draws.accepted
        right, number = correct.sum(axis=1), known.sum(axis=1)
        self._fits: dict[str, Mixture] = {}
        if {ORACLE, FIRST_ACCEPTED} & set(self.selections):
            self._fits["rates"] = fit_rates(right, number)
        if FIRST_ACCEPTED in self.selections:
            taken = (correct & accepted).sum(axis=1)
            self._fits["true"] = fit(binomial(taken, right), beta, (1.0, 1.0))
            mistaken = accepted.sum(axis=1) - taken
            self._fits["false"] = fit(binomial(mistaken, number - right), beta, (-1.0, 1.0))
        if BY_SCORE in self.selections:
            height = normal_scores(draws.score, known)
            likelihood = logistic(height, correct, known)
            self._fits["lines"] = fit(likelihood, normal_lines, (0.0, 0.5, 0.5, -1.0))
            self.centre, self.deviation = shrunken_moments(height, known)
            self._places: dict[float, tuple[Ints, Floats]] = {}

    def refitted(self, weights: Floats) -> Model:
        """Return the model where prompts count otherwise, (P,)."""
        other = copy(self)
        other._fits = {name: fitted.refitted(weights) for name, fitted in self._fits.items()}
        return other

    def predict(self, budgets: Sequence[int]) -> Mapping[str, Floats]:
        """Return the chance of success of each prompt by selection, (P, budgets)."""
        n = np.asarray(budgets, dtype=float)
        predictions = {
            ORACLE: lambda: self._fits["rates"].means(1 - (1 - RATES[:, None]) ** n),
            FIRST_ACCEPTED: lambda: self._first_accepted(n)[0],
            BY_SCORE: lambda: self._by_score(n),
        }
        return {selection: predictions[selection]() for selection in self.selections}

    def draws_until_accepted(self, budgets: Sequence[int]) -> Floats:
        """Return the expected draws of each prompt, stopping at the first accepted; (P, B)."""
        return self._first_accepted(np.asarray(budgets, dtype=float))[1]

    def _first_accepted(self, n: Floats) -> tuple[Floats, Floats]:
        mixtures = (self._fits[name] for name in ("rates", "true", "false"))
        p, t, f = (
            mixture.quantiles(shares)[..., None]
            for mixture, shares in zip(mixtures, _points(), strict=True)
        )
        a = np.clip(p * t + (1 - p) * f, 1e-12, 1 - 1e-12)
        none = (1 - a) ** n
        right = p * t / a * (1 - none) + p * (1 - t) / (1 - a) * none
        return right.mean(axis=1), ((1 - none) / a).mean(axis=1)

    def _by_score(self, n: Floats) -> Floats:
        chances = self._fits["lines"].means(_LINES).ravel()
        columns = []
        for number in n.tolist():
            left, share = self._largest(number)
            low, high = chances[left], chances[left + 1]
            columns.append((low + (high - low) * share).mean(axis=1))
        return np.stack(columns, axis=1)

    def _largest(self, number: float) -> tuple[Ints, Floats]:
        """Return where quantiles of the largest of n scores lie among heights, (P, levels) each.

        They do not hang on how prompts count, so they are kept for all refits: the places of the
        next lower heights in a flat table of prompts by heights, and what they are above these.
        """
        if number not in self._places:
            largest = ndtri(_LEVELS ** (1 / np.array([number])))
            heights = self.centre[:, None] + self.deviation[:, None] * largest
            place = np.clip((heights - _HEIGHTS[0]) / _STEP, 0, len(_HEIGHTS) - 1.001)
            left = place.astype(int)
            rows = np.arange(len(heights))[:, None] * len(_HEIGHTS)
            self._places[number] = left + rows, place - left
        return self._places[number]


_LEVELS: Floats = (np.arange(48) + 0.5) / 48
_STEP = 0.25
_HEIGHTS: Floats = np.arange(-6.0, 9.0, _STEP)
_LINES: Floats = expit(GRID[0][:, None] + GRID[1][:, None] * _HEIGHTS)


@cache
def _points() -> Floats:
    """Return points of the unit cube, evenly spread: one draw of p, t and f each, (3, 64)."""
    from scipy.stats import qmc  # half a second of imports, for forecasts of this kind alone

    points: Floats = qmc.Sobol(3, scramble=True, rng=0).random(64).T
    return points


def normal_scores(score: Floats, known: Bools) -> Floats:
    """Return scores as normal deviates by their rank among all; 0 where unknown."""
    deviates = np.zeros(score.shape)
    deviates[known] = ndtri((ranks(score[known]) - 0.5) / known.sum())
    return deviates


def shrunken_moments(height: Floats, known: Bools) -> tuple[Floats, Floats]:
    """Return mean and deviation of each prompt's draws, drawn to those of all prompts, (P,) each.

    The mean by the ratio of the variances between and within prompts, the variance as if each
    prompt had `_PRIOR_DRAWS` further draws of the common one.
    """
    counts = known.sum(axis=1)
    mean = np.where(known, height, 0.0).sum(axis=1) / counts
    squares = np.where(known, (height - mean[:, None]) ** 2, 0.0).sum(axis=1)
    within = float(squares.sum() / max(int((counts - 1).sum()), 1))
    between = max(float(mean.var()) - within / float(counts.mean()), 1e-6)
    centre = mean.mean() + (mean - mean.mean()) * between / (between + within / counts)
    variance = (squares + _PRIOR_DRAWS * within) / (counts - 1 + _PRIOR_DRAWS)
    return centre, np.sqrt(variance)


_PRIOR_DRAWS = 3


def observed(draws: PromptDraws, budgets: Sequence[int]) -> Mapping[str, Floats]:
    """Return what the log says of budgets that it holds, by selection, (P, budgets)."""
    cut = draws.sample(draws.number, np.random.default_rng(0))
    correct = cut.correct.astype(float)
    result = {ORACLE: subsets.by_oracle(correct)}
    if draws.is_judged:
        result[FIRST_ACCEPTED] = subsets.first_accepted(correct, cut.accepted, cut.known)
        result[BY_SCORE] = subsets.by_score(cut.score, correct)
    columns = [budget - 1 for budget in budgets]
    return {selection: values[:, columns] for selection, values in result.items()}


class Forecast:
    """Micro scores of the prompts of some draws at any budget.

    Budgets that the log holds are read from it. Beyond, it is the model's curve, shifted (in
    logits) to meet the log at its last budget.
    """

    def __init__(self, draws: PromptDraws, selections: Collection[str] = SELECTIONS) -> None:
        self.draws = draws
        self.model = Model(draws, selections)
        self._log = observed(draws, range(1, draws.number + 1))

    def scores(self, budgets: Sequence[int], weights: Floats | None = None) -> Mapping[str, Floats]:
        """Return the score by selection, (budgets,).

        Args:
            budgets: Draws a prompt.
            weights: How often each prompt counts, (P,); the model is then fitted again.
        """
        model = self.model if weights is None else self.model.refitted(weights)
        last = self.draws.number
        result = {}
        for selection, chances in model.predict([last, *budgets]).items():
            log = np.average(self._log[selection], axis=0, weights=weights)
            curve = np.average(chances, axis=0, weights=weights)
            shift = _logit(log[-1]) - _logit(curve[0])
            beyond = expit(_logit(curve[1:]) + shift)
            result[selection] = np.array(
                [
                    log[n - 1] if n <= last else score
                    for n, score in zip(budgets, beyond, strict=True)
                ]
            )
        return result

    def resampled(self, budgets: Sequence[int], number: int, seed: int) -> Mapping[str, Floats]:
        """Return the scores over resampled prompts, by selection, (number, budgets)."""
        rng = np.random.default_rng([seed, 1])
        prompts = len(self.draws.known)
        collected: dict[str, list[Floats]] = {}
        for _ in range(number):
            picks = rng.integers(0, prompts, prompts)
            weights = np.bincount(picks, minlength=prompts).astype(float)
            for selection, scores in self.scores(budgets, weights).items():
                collected.setdefault(selection, []).append(scores)
        return {selection: np.stack(rows) for selection, rows in collected.items()}


def _logit(share: npt.ArrayLike) -> Floats:
    result: Floats = logit(np.clip(share, 1e-6, 1 - 1e-6))
    return result


@dataclass(frozen=True)
class Spread:
    """The spread between prompts, which decides whether drawing again pays.

    Attributes:
        draws: Scored draws that every prompt has.
        correlation: Intraclass correlation of two draws of a prompt: variance of the rates over
            that of a draw; 0 where failures are independent, 1 where prompts always or never fail.
        unsolved: Share of prompts of which no logged draw is right.
        hopeless: Estimated share of prompts whose rate is below 1 in 1,000.
    """

    draws: int
    correlation: float
    unsolved: float
    hopeless: float


def spread(draws: PromptDraws) -> Spread:
    """Return how unlike prompts are."""
    right = draws.correct.sum(axis=1)
    rates = fit_rates(right, draws.known.sum(axis=1))
    mean, square = (float(rates.means(v).mean()) for v in (RATES, RATES**2))
    return Spread(
        draws.number,
        (square - mean**2) / max(mean - mean**2, 1e-12),
        float((right == 0).mean()),
        float(rates.means((RATES < 1e-3).astype(float)).mean()),
    )
