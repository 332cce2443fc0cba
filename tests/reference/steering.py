"""Particle steering a second time, in arrays of single precision, from the method's description."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Singles = npt.NDArray[np.float32]


@dataclass
class Particles:
    """Rewards remembered and products of potentials of some particles.

    Attributes:
        remembered: R of each.
        product: P of each.
        potential: "diff", "max", "add" or "rt".
        temperature: λ.
        adaptive: Whether particles are resampled only below half the effective sample size.
    """

    remembered: Singles
    product: Singles
    potential: str
    temperature: np.float32
    adaptive: bool

    def weigh(self, rewards: Singles, is_last: bool) -> tuple[Singles, float]:
        """Return the weights, and how large a sample they are worth."""
        with np.errstate(all="ignore"):
            before = self.remembered
            after = {"max": np.maximum(rewards, before), "add": rewards + before}
            self.remembered = after.get(self.potential, rewards)
            shown = rewards - before if self.potential == "diff" else self.remembered
            weights = np.exp(self.temperature * shown)
            if is_last and self.potential != "diff":
                weights = weights / self.product
            weights = np.nan_to_num(np.clip(weights, 0, np.float32(1e10)), nan=0.0)
            weights = weights if weights.any() else np.ones_like(weights)
            shares = weights / weights.sum()
            return weights, float(1 / (shares**2).sum())

    def resample(self, weights: Singles, indices: npt.NDArray[np.int64]) -> None:
        """Go on from the particles drawn."""
        with np.errstate(all="ignore"):
            self.product = (self.product * weights)[indices]
        self.remembered = self.remembered[indices]
