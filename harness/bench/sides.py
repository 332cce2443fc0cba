"""Measurements of ways of doing the same work, round by round, and their summary."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from harness.records import Role

BUSY = 0.8
"""Share of the engine's time above which the models are what limits it."""

FULL = 0.75
"""Share of a batch's rows that has to be real draws for padding not to matter."""


@dataclass(frozen=True)
class Round:
    """One round of one way.

    Attributes:
        models: Of these, seconds inside each role's model.
        busy: Processor cores that other processes kept busy meanwhile; None where other
            processes did the work.
    """

    seconds: float
    models: Mapping[Role, float]
    busy: float | None


@dataclass(frozen=True)
class Ratio:
    """The speed relative to another way, round against round of the same number."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, slow: Iterable[float], fast: Iterable[float]) -> Ratio:
        """Return the ratio of two ways' seconds."""
        each = [theirs / ours for theirs, ours in zip(slow, fast, strict=True)]
        return cls(statistics.median(each), min(each), max(each))

    def __str__(self) -> str:
        return f"{self.median:.2f}× ({self.least:.2f} to {self.most:.2f})"


@dataclass(frozen=True)
class Side:
    """One way of doing the work.

    Attributes:
        draws: Images a round.
    """

    draws: int
    rounds: tuple[Round, ...]

    @property
    def rate(self) -> float:
        """Images a second in the median round."""
        return statistics.median(self._rates)

    @property
    def spread(self) -> tuple[float, float]:
        """Images a second in the slowest and in the fastest round."""
        return min(self._rates), max(self._rates)

    @property
    def _rates(self) -> list[float]:
        return [self.draws / each.seconds for each in self.rounds]

    @property
    def shares(self) -> dict[Role, float]:
        """Share of the time inside each role's model, in the median round."""
        return {
            role: statistics.median(each.models[role] / each.seconds for each in self.rounds)
            for role in self.rounds[0].models
        }

    def model_ms(self, role: Role) -> float:
        """Milliseconds inside a role's model by the image, in the median round."""
        return 1000 * statistics.median(each.models[role] for each in self.rounds) / self.draws

    @property
    def busy(self) -> float | None:
        """Processor cores that other processes kept busy, in the median round."""
        known = [each.busy for each in self.rounds if each.busy is not None]
        return statistics.median(known) if known else None

    def ratio(self, other: Side) -> Ratio:
        """Return how many times as fast as another it is."""
        return Ratio.of((r.seconds for r in other.rounds), (r.seconds for r in self.rounds))

    def role_ratio(self, other: Side, role: Role) -> Ratio:
        """Return the same of the time inside one role's model."""
        return Ratio.of(
            (r.models[role] for r in other.rounds), (r.models[role] for r in self.rounds)
        )

    def as_json(self) -> dict[str, Any]:
        """Return figures and rounds as plain values."""
        return {
            "images_per_second": self.rate,
            "cores_busy_with_other_things": self.busy,
            "slowest_and_fastest": list(self.spread),
            "share_in_models": {str(role): share for role, share in self.shares.items()},
            "model_ms": {str(role): self.model_ms(role) for role in self.shares},
            "rounds": [
                {
                    "seconds": each.seconds,
                    "models": {str(role): s for role, s in each.models.items()},
                    "cores_busy_with_other_things": each.busy,
                }
                for each in self.rounds
            ],
        }


@dataclass(frozen=True)
class Measured:
    """All sides of one measurement.

    Attributes:
        sides: By name: `bare` (the fullest batches, nothing else), `engine`, `single` (one image
            at a time), and `workers` if it was asked for.
        fill: Share of the rows of each role's batches that were real, in the engine's run.
        memory_bytes: The most memory held on the device, all models together.
    """

    sides: Mapping[str, Side]
    draws: int
    fill: Mapping[Role, float]
    cores: int
    memory_bytes: int

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {
            "draws": self.draws,
            "sides": {name: side.as_json() for name, side in self.sides.items()},
            "batches_full": {str(role): share for role, share in self.fill.items()},
            "cores": self.cores,
            "memory_bytes": self.memory_bytes,
            "times_as_fast_as_single": {
                name: asdict(side.ratio(self.single)) for name, side in self.sides.items()
            },
            "limit": self.limit,
        }

    @property
    def single(self) -> Side:
        """One image at a time, which everything is held to."""
        return self.sides["single"]

    @property
    def limit(self) -> str:
        """One sentence: what keeps the engine from being faster."""
        engine = self.sides["engine"]
        shares = engine.shares
        inside, slowest = sum(shares.values()), max(shares, key=lambda role: shares[role])
        if inside < BUSY:
            return (
                f"limited by what is done beside the models: {1 - inside:.0%} of the engine's time "
                "(images packed, stored and logged), where the models are this quick"
            )
        text = f"limited by the {slowest}: {shares[slowest]:.0%} of the engine's time"
        if self.fill[slowest] < FULL:
            return (
                f"{text}, in batches that were {self.fill[slowest]:.0%} full: the search has too "
                "few draws to ask for at once; more prompts or a smaller --batch-size fill them"
            )
        gain = self.sides["bare"].role_ratio(self.single, slowest)
        return (
            f"{text}, in batches that were {self.fill[slowest]:.0%} full; the fullest are "
            f"{gain.median:.1f} times as fast as single images here, and beyond that only more "
            "workers help"
        )
