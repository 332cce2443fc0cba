"""Explore, then reflect: spend a few draws on choosing where to start."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar

from harness.records import Ability, Candidate, Draw, Task
from strategies.base import AtLeastOne, Rounds, Strategy, best
from strategies.context import best_accepted, reflected


@dataclass(frozen=True)
class ExploreThenReflect(Strategy):
    """M plain draws at once; then a chain of reflections from the best rejected one.

    If the judge accepts some of the M, its score chooses among them and the search ends. Use it
    where single draws differ much: one of M is often right or nearly right, and feedback on a
    nearly right image asks for less than feedback on the first that comes. The first round is one
    batch, so it costs the latency of a single draw.

    Attributes:
        explore: Plain draws in the first round (M); cut to the budget.
        context: The most pairs a draw is conditioned on.
    """

    name: ClassVar[str] = "explore-then-reflect"
    abilities: ClassVar[frozenset[Ability]] = frozenset({Ability.FEEDBACK})
    budget_only_limits: ClassVar[bool] = True
    explore: AtLeastOne = 4
    context: AtLeastOne = 3

    def search(self, task: Task) -> Rounds:
        """Explore in one round, then reflect one draw at a time."""
        rng = random.Random(task.seed)
        opened = min(self.explore, task.budget)
        seen: list[Candidate] = []
        seen += yield [Draw(index) for index in range(opened)]
        if (accepted := best_accepted(seen)) is not None:
            return accepted
        start = best(seen)
        chain = [start] if start is not None else []
        drawn = yield from reflected(chain, range(opened, task.budget), self.context, rng)
        return best_accepted(drawn) or best([*seen, *drawn])
