"""Reflect while it helps; start afresh when it no longer does."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar

from harness.records import Ability, Candidate, Draw, Task
from strategies.base import AtLeastOne, Rounds, Strategy, best
from strategies.context import choose, feedback_on


@dataclass(frozen=True)
class ReflectOrRestart(Strategy):
    """A reflection chain that has not improved in R rounds is dropped for a plain draw.

    Use it where chains get stuck: when the judge repeats one complaint that the generator
    cannot act on, more of the same feedback buys nothing, while fresh noise might.

    Attributes:
        patience: Draws without a better judge's score before a restart (R).
        context: The most pairs a draw is conditioned on.
    """

    name: ClassVar[str] = "reflect-or-restart"
    abilities: ClassVar[frozenset[Ability]] = frozenset({Ability.FEEDBACK})
    budget_only_limits: ClassVar[bool] = True
    patience: AtLeastOne = 3
    context: AtLeastOne = 3

    def search(self, task: Task) -> Rounds:
        """Draw one at a time, restarting stuck chains, until accepted or out of budget."""
        rng = random.Random(task.seed)
        seen: list[Candidate] = []
        chain: list[Candidate] = []
        stuck = 0
        for index in range(task.budget):
            if stuck >= self.patience:
                chain, stuck = [], 0
            (answer,) = yield [Draw(index, choose(feedback_on(chain), self.context, rng))]
            seen.append(answer)
            if answer.accepted:
                return seen[-1]
            chain.append(answer)
            stuck = 0 if best(chain) is answer else stuck + 1
        return best(seen)
