"""A strategy: half of the budget at once, then one draw at a time until one is accepted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.records import Candidate, Draw, Task
from strategies.base import Rounds, Strategy, best


@dataclass(frozen=True)
class SecondHalf(Strategy):
    """Draws on only where the first draws were all rejected.

    Attributes:
        first: Share of the budget that is drawn at once; at least one draw.
    """

    name: ClassVar[str] = "second-half"
    needs_judge: ClassVar[bool] = True

    first: float = 0.5

    def search(self, task: Task) -> Rounds:
        """Return the best accepted candidate, or the best of all."""
        at_once = min(task.budget, max(1, round(self.first * task.budget)))
        candidates: list[Candidate] = list((yield [Draw(i) for i in range(at_once)]))
        for index in range(at_once, task.budget):
            if any(candidate.accepted for candidate in candidates):
                break
            candidates += yield [Draw(index)]
        return best([c for c in candidates if c.accepted] or candidates)
