"""What is paid for the work of a run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Price:
    """What is paid.

    Attributes:
        hour: For a device-hour; None if nobody said.
        million_tokens: For a million tokens of a judge at an endpoint; None likewise.
    """

    hour: float | None = None
    million_tokens: float | None = None


UNPRICED = Price()
