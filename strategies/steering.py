"""The population of particle steering: potentials, weights and what is remembered of each particle.

Feynman-Kac steering of Singhal et al. (arXiv 2501.06848). A particle's reward r is that of its
preview. With R what is remembered of earlier rewards and λ the temperature, its weight is
exp(λ (r − R)) for "diff", exp(λ max(r, R)) for "max", exp(λ (r + R)) for "sum", and exp(λ r) for
"reward". At the end, "max", "sum" and "reward" divide exp(λ R) by the product of the weights that
the particle's line has been drawn with, so that the whole is distributed by the final reward.
"""

from __future__ import annotations

import ctypes
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Literal

Potential = Literal["diff", "max", "sum", "reward"]

MOST_WEIGHT = 1e10


@dataclass
class Population:
    """Has state: rewards remembered and products of weights, one of each a particle.

    Attributes:
        first_reward: What R is before anything was seen.
        adaptive: Whether resampling waits until the effective sample size, 1 / Σ (w / Σ w)², falls
            below half the particles; at the last step it always does.
        official: Whether the product keeps only weights that were drawn with, and numbers have
            single precision, as in the public code. Otherwise a particle that is kept without
            resampling carries its weight on: its product grows by it too, and so does its next
            weight.
    """

    size: int
    potential: Potential = "max"
    temperature: float = 10.0
    first_reward: float = 0.0
    adaptive: bool = True
    official: bool = False
    rewards: list[float] = field(init=False)
    products: list[float] = field(init=False)
    carried: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self.rewards = [self.first_reward] * self.size
        self.products = [1.0] * self.size
        self.carried = [1.0] * self.size

    def look(self, rewards: Sequence[float | None], *, is_last: bool) -> list[float] | None:
        """Return the weights to draw the next particles with, or None where they stay as they are.

        Args:
            rewards: Of the particles' previews, in order; None of one that failed, which is given
                no weight.
            is_last: Whether these are the finished images.
        """
        weights = []
        for place, reward in enumerate(rewards):
            if reward is None:
                weights.append(0.0)
                continue
            weights.append(_clamped(self._weight(place, reward, is_last)))
        if not any(weights):
            logging.getLogger(__name__).info("all weights are zero: equal ones take their place")
            weights = [float(reward is not None) for reward in rewards]
        waits = self.adaptive or is_last
        if waits and self._effective_size(weights) >= self.size / 2:
            if not self.official:
                self.carried = weights
            return None
        return weights

    def draw(self, indices: Sequence[int], weights: Sequence[float]) -> None:
        """Take notice of the ancestor of each new particle, drawn with the weights of `look`."""
        products = [p * w for p, w in zip(self.products, weights, strict=True)]
        if self.official:
            products = list(map(_single, products))
        self.rewards = [self.rewards[index] for index in indices]
        self.products = [products[index] for index in indices]
        self.carried = [1.0] * len(indices)

    def _weight(self, place: int, reward: float, is_last: bool) -> float:
        rounded = _single if self.official else float
        earlier = self.rewards[place]
        change = rounded(reward - earlier)
        if self.potential == "max":
            self.rewards[place] = max(reward, earlier)
        elif self.potential == "sum":
            self.rewards[place] = rounded(reward + earlier)
        else:
            self.rewards[place] = reward
        seen = change if self.potential == "diff" else self.rewards[place]
        weight = rounded(_exp(rounded(self.temperature * seen)))
        if is_last and self.potential != "diff":  # what is carried is in the weight and the product
            return rounded(_quotient(weight, self.products[place]))
        return weight * self.carried[place]

    def _effective_size(self, weights: Sequence[float]) -> float:
        """Return the effective sample size of some weights; in single precision for ties."""
        if not self.official:
            return effective_size(weights)
        total = reduce(_single_sum, weights)
        shares = [_single(weight / total) for weight in weights]
        return _single(1 / reduce(_single_sum, [_single(share * share) for share in shares]))


def effective_size(weights: Sequence[float]) -> float:
    """Return the effective sample size of some weights, 1 / Σ (w / Σ w)²."""
    total = math.fsum(weights)
    return 1 / math.fsum((weight / total) ** 2 for weight in weights) if total else 0.0


def _exp(exponent: float) -> float:
    return math.inf if exponent > 709 else math.exp(exponent)


def _quotient(weight: float, product: float) -> float:
    if product:
        return weight / product
    return math.inf if weight > 0 else math.nan


def _single_sum(one: float, other: float) -> float:
    return _single(one + other)


def _single(number: float) -> float:
    """Return a number in single precision, which the public code computes in."""
    return ctypes.c_float(number).value


def _clamped(weight: float) -> float:
    return 0.0 if math.isnan(weight) else min(max(weight, 0.0), MOST_WEIGHT)
