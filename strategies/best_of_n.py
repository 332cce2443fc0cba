"""Best-of-N: independent draws, the judge picks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from harness.records import Candidate, Draw, Task
from strategies.base import Rounds, Strategy, best, last


@dataclass(frozen=True)
class BestOfN(Strategy):
    """N independent draws; one is selected.

    Use it first: it asks nothing of models but a judge, and whatever else spends a budget has to
    beat it.

    Attributes:
        select: "score" draws all N at once and takes the judge's highest score.
            "first-accepted" draws one at a time, stops at the first accepted image and falls
            back to the last one: the baseline as the Reflect-DiT paper runs it (arXiv
            2503.12271), cheaper where the judge accepts early.
    """

    name: ClassVar[str] = "best-of-n"
    budget_only_limits: ClassVar[bool] = True
    needs_judge: ClassVar[bool] = True
    select: Literal["score", "first-accepted"] = "score"

    def search(self, task: Task) -> Rounds:
        """Draw up to the budget and select as the option says."""
        if self.select == "score":
            candidates = yield [Draw(index) for index in range(task.budget)]
            return best(candidates)
        return (yield from first_accepted(task))


def first_accepted(task: Task) -> Rounds:
    """Draw one image after the other until one is accepted; return it, or else the last."""
    seen: list[Candidate] = []
    for index in range(task.budget):
        seen += yield [Draw(index)]
        if seen[-1].accepted:
            break
    return last(seen)
