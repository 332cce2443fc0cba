"""One draw, taken as it comes: the baseline everything else is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.records import Draw, Task
from strategies.base import Rounds, Strategy, best


@dataclass(frozen=True)
class Single(Strategy):
    """Draw once and select it, whatever the budget allows."""

    name: ClassVar[str] = "single"
    budget_only_limits: ClassVar[bool] = True

    def search(self, task: Task) -> Rounds:
        """Yield one draw; select it."""
        candidates = yield [Draw(0)]
        return best(candidates)
