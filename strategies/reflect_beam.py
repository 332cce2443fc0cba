"""A beam of reflection chains, pruned by the judge's score."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar

from harness.records import Ability, Candidate, Draw, Task
from strategies.base import AtLeastOne, Rounds, Strategy, best, ranked
from strategies.context import best_accepted, choose, feedback_on


@dataclass(frozen=True)
class ReflectBeam(Strategy):
    """W chains advance together; each branches, and the judge's best W go on.

    The search ends with the first round in which an image is accepted; of several, the judge's
    score chooses. Use it where that score tells nearly right from far off, and latency matters more
    than draws: a round is one batch of W × B draws. With width and branch 1 it is `reflect`
    that selects by score.

    Attributes:
        width: Chains kept after each round (W).
        branch: Draws each chain tries in a round (B), equal but for their noise.
        context: The most pairs a draw is conditioned on.
    """

    name: ClassVar[str] = "reflect-beam"
    abilities: ClassVar[frozenset[Ability]] = frozenset({Ability.FEEDBACK})
    budget_only_limits: ClassVar[bool] = True
    width: AtLeastOne = 2
    branch: AtLeastOne = 2
    context: AtLeastOne = 3

    def search(self, task: Task) -> Rounds:
        """Advance all chains a round at a time until one is accepted or the budget is spent."""
        rng = random.Random(task.seed)
        seen: list[Candidate] = []
        # A chain is its candidates, oldest first; the search opens with W × B empty ones.
        chains: list[list[Candidate]] = [[]] * self.width
        while len(seen) < task.budget:
            parents = [chain for chain in chains for _ in range(self.branch)]
            parents = parents[: task.budget - len(seen)]
            children = yield [
                Draw(len(seen) + n, choose(feedback_on(parent), self.context, rng))
                for n, parent in enumerate(parents)
            ]
            seen += children
            if (accepted := best_accepted(children)) is not None:
                return accepted
            parent_of = {child.id: p for p, child in zip(parents, children, strict=True)}
            if grown := ranked(children):  # else the chains stay as they were
                chains = [[*parent_of[child.id], child] for child in grown[: self.width]]
        return best(seen)
