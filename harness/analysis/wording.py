"""The spelling of numbers wherever people read them: a score that nobody knows is never a 0."""

from __future__ import annotations

import math

from harness.analysis.statistics import Estimate

UNKNOWN = "–"
"""What stands for a score that there is none of."""


def score(value: float) -> str:
    """Spell a score, NaN for one that there is none of."""
    return UNKNOWN if math.isnan(value) else f"{value:.3f}"


def cells(estimate: Estimate | None) -> tuple[str, str, str]:
    """Spell a score, its interval and the interval's method."""
    if estimate is None:
        return UNKNOWN, UNKNOWN, UNKNOWN
    interval = f"{score(estimate.low)}–{score(estimate.high)}"
    return score(estimate.value), interval, estimate.method


def n_of(number: int, total: int) -> str:
    """Spell how many of a total, the total alone if it is all."""
    return str(number) if number == total else f"{number} of {total}"
