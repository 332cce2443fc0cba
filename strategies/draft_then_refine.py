"""Drafts in few steps choose the noise that is then drawn in full."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.records import Draw, Noise, Task
from strategies.base import Rounds, Share, Strategy, best, ranked
from strategies.trajectories import step_at


@dataclass(frozen=True)
class DraftThenRefine(Strategy):
    """Cheap drafts with fewer steps; the noises of the best are drawn in full.

    As in arXiv 2607.04461. A draft is a whole image of a coarser solver, so any generator that
    has a number of steps can make one, and the judge sees no blurred previews. Use it where few
    steps already show what is in the image; a draft's noise need not lead a finer solver to the
    same picture.

    Attributes:
        drafts: Share of the budget that goes into drafts.
        draft_steps: Steps of a draft, as a share of a whole draw's.
    """

    name: ClassVar[str] = "draft-then-refine"
    needs_judge: ClassVar[bool] = True
    drafts: Share = 0.5
    draft_steps: Share = 0.25

    def check(self, steps: int) -> None:
        """Refuse drafts that have as many steps as a whole draw."""
        if step_at(self.draft_steps, steps) == steps:
            raise ValueError(f"a draft of {self.draft_steps:g} of {steps} step(s) is a whole draw")

    def search(self, task: Task) -> Rounds:
        """Draw drafts, then their best noises in full; return the best whole image."""
        allowed, cost = task.budget * task.steps, step_at(self.draft_steps, task.steps)
        number = min(int(self.drafts * allowed), allowed - task.steps) // cost
        if number < 2 or cost == task.steps:  # nothing to choose from
            return best((yield [Draw(index) for index in range(task.budget)]))
        settings = {"num_inference_steps": cost}
        drafts = yield [Draw(index, settings=settings) for index in range(number)]
        whole = (allowed - number * cost) // task.steps
        noises = [draft.draw.index for draft in ranked(drafts)][:whole]
        # Where drafts failed or are few, fresh noise takes the rest.
        noises += range(number, number + whole - len(noises))
        finished = yield [
            Draw(number + whole + place, noise=Noise(noise)) for place, noise in enumerate(noises)
        ]
        return best(finished) or best(drafts)
