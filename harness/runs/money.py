"""Money: the device-hours and tokens that runs spent, and their price."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from harness.log.manifest import Manifest
from harness.log.schema import ROLES
from harness.models.judges.chosen import is_remote
from harness.price import UNPRICED, Price
from harness.runs.logged_run import LoggedRun
from harness.runs.summary import logged_cost
from harness.statistics.intervals import Floats

Costs = tuple[Manifest, Mapping[str, Mapping[str, float | None]]]
"""A run's manifest, and what was spent by role and unit: `harness.runs.summary.Summary.cost`"""


@dataclass(frozen=True)
class Spending:
    """What runs spent; NaN where a part was not recorded.

    Attributes:
        hours: Device-hours.
        million_tokens: Of judges at endpoints; None if none of them asks one.
        price: What is paid for each.
    """

    hours: float
    million_tokens: float | None
    price: Price

    @property
    def due(self) -> float:
        """Money for what has a price."""
        return self.hours * (self.price.hour or 0.0) + (self.million_tokens or 0.0) * (
            self.price.million_tokens or 0.0
        )

    def __str__(self) -> str:
        known = math.isfinite(self.hours)
        parts = [f"{self.hours:.4g} device-hours" if known else "device-hours not recorded"]
        if self.million_tokens is not None:
            parts.append(f"{self.million_tokens:.4g} million tokens of an endpoint")
        if self.price == UNPRICED:
            return ", ".join(parts)
        exceptions = [
            text
            for text, is_missing in (
                ("without its device-hours", self.price.hour is None),
                (
                    "without its tokens",
                    self.million_tokens is not None and self.price.million_tokens is None,
                ),
            )
            if is_missing
        ]
        amount = f"{self.due:.4g}" if math.isfinite(self.due) else "unknown"
        return f"{', '.join(parts)}; at these prices {' '.join([amount, *exceptions])}"


def spending(costs: Iterable[Costs], price: Price) -> Spending:
    """Return the device-hours of some runs and what they cost.

    Seconds that a judge at an endpoint was waited for are no device-hours: its tokens are paid.
    Tokens of models on one's own devices are paid by the hour. What is unknown makes a sum unknown.

    Args:
        costs: Of the runs.
        price: What is paid.
    """
    seconds, tokens, calls_endpoint = 0.0, 0.0, False
    for manifest, by_role in costs:
        remote = asks_endpoint(manifest)
        for role, cost in by_role.items():
            if role == "judge" and remote:
                calls_endpoint = True
                tokens += _known(cost["tokens"])
            else:
                seconds += _known(cost["device_seconds"])
    return Spending(seconds / 3600, tokens / 1e6 if calls_endpoint else None, price)


def asks_endpoint(manifest: Manifest) -> bool:
    """Return True if the run's judge answers from an endpoint."""
    return is_remote(str(manifest.config["judge"]["kind"]))


def spent_by(run: LoggedRun, price: Price) -> Spending:
    """Return what a run spent over all of its seeds, unfinished searches included."""
    return spending(
        [(part.manifest, logged_cost(part.folder, part.manifest)) for part in run.parts], price
    )


def by_draw(run: LoggedRun, price: Price) -> Floats:
    """Return what each draw cost in money, (S, N); NaN where a cost or its price is unknown."""
    remote = asks_endpoint(run.manifest)
    roles = tuple(role for role in ROLES if not (remote and role == "judge"))
    due = run.spent("device_seconds", roles) * _known(price.hour) / 3600
    tokens = run.costs["tokens_judge"] * _known(price.million_tokens) / 1e6 if remote else 0.0
    return due + tokens


def _known(value: float | None) -> float:
    return math.nan if value is None else value
