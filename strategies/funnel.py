"""The funnel: previews pruned, survivors finished, the best reflected on, an end at acceptance."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from harness.records import Ability, Task
from strategies.base import AtLeastOne, Rounds, Strategy, best
from strategies.context import best_accepted, reflected
from strategies.prune import Schedule, pruned


@dataclass(frozen=True)
class Funnel(Strategy):
    """Prunes a first part of the budget down to whole images, then reflects on the best of them.

    What costs least decides first: previews are judged before images are whole, whole images
    before anything is drawn with feedback, and the search ends as soon as an image is accepted.
    It joins `prune` with `reflect` (arXiv 2503.12271); nobody has published it. Use it where
    previews tell much and feedback mends what sampling does not.

    Attributes:
        wide: Share of the budget for the pruned part, at least one whole draw.
        schedule: Of the pruning: see `prune`.
        context: The most (image, sentence) pairs that a later draw is conditioned on.
    """

    name: ClassVar[str] = "funnel"
    abilities: ClassVar[frozenset[Ability]] = frozenset({Ability.PARTIAL, Ability.FEEDBACK})
    needs_judge: ClassVar[bool] = True
    wide: Annotated[float, Field(gt=0.0, le=1.0)] = 0.4
    schedule: Schedule = "0.25:0.5,0.5:0.25"
    context: AtLeastOne = 3

    def search(self, task: Task) -> Rounds:
        """Prune, then reflect until an image is accepted or the budget is spent."""
        allowed = max(task.steps, int(self.wide * task.budget) * task.steps)
        finished, previews = yield from pruned(task, self.schedule, allowed)
        if (accepted := best_accepted(finished)) is not None:
            return accepted
        rng = random.Random(task.seed)
        start = best(finished)
        chain = [start] if start else []
        begun = len(finished) + len(previews)
        indices = range(begun, begun + task.budget - allowed // task.steps)
        drawn = yield from reflected(chain, indices, self.context, rng)
        return best_accepted(drawn) or best([*finished, *drawn]) or best(previews)
