"""The progress of a run: numbers for the terminal, kept as the engine goes."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from harness.errors import Failure
from harness.records import Role


@dataclass
class Progress:
    """Counts since the run (`…_total`, `searches_…`) or this session of it (the others) began.

    Attributes:
        searches_ended: Searches that ended, failed ones included.
        searches_failed: Searches that ended without a selected image.
        draws_failed: Of these, draws that failed for good.
        replayed: Draws answered from the log.
        reused: Draws answered from another run's log, by that run's id.
        retried: Rows that were queued again after a failed try.
        failures: Failed tries of batches, by role and kind.
        outcomes: The scorer's grade of each selected image, by tag, as far as scored.
        started: Monotonic time at which this session began to draw.
    """

    searches_total: int = 0
    searches_ended: int = 0
    searches_failed: int = 0
    draws: int = 0
    draws_failed: int = 0
    replayed: int = 0
    reused: Counter[str] = field(default_factory=Counter)
    retried: int = 0
    failures: Counter[tuple[Role, Failure]] = field(default_factory=Counter)
    outcomes: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    started: float = field(default_factory=time.monotonic)

    @property
    def draws_per_second(self) -> float:
        """Draws made a second in this session."""
        return self.draws / max(time.monotonic() - self.started, 1e-9)

    @property
    def micro(self) -> float | None:
        """Mean grade of the selected images so far; None before the first."""
        values = [value for outcomes in self.outcomes.values() for value in outcomes]
        return sum(values) / len(values) if values else None
