"""Reflect-DiT: look at what went wrong, say it, draw again with that in mind."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from harness.records import Candidate, Draw, Task
from strategies.base import Rounds, Strategy, best, last
from strategies.context import choose, feedback_on


@dataclass(frozen=True)
class Reflect(Strategy):
    """One chain of draws, each told what was wrong with the earlier ones.

    As published (arXiv 2503.12271): the first draw is plain; the search ends at the first image
    the judge accepts; otherwise the judge's sentence joins the feedback and the next draw is
    conditioned on up to `context` (image, sentence) pairs; without acceptance the last image is
    selected. Use it where a generator trained on feedback is at hand and draws are dear: it
    spends one draw at a time and stops as soon as it may.

    Attributes:
        context: The most pairs a draw is conditioned on (the paper's K).
        select: Without acceptance, "last" takes the last image, as published; "best" the one
            the judge scores highest.
    """

    name: ClassVar[str] = "reflect"
    needs_feedback: ClassVar[bool] = True
    context: Annotated[int, Field(ge=1)] = 3
    select: Literal["last", "best"] = "last"

    def search(self, task: Task) -> Rounds:
        """Draw one at a time until the judge accepts or the budget is spent."""
        rng = random.Random(task.seed)
        seen: list[Candidate] = []
        for index in range(task.budget):
            seen += yield [Draw(index, choose(feedback_on(seen), self.context, rng))]
            if seen[-1].accepted:
                return seen[-1]
        return last(seen) if self.select == "last" else best(seen)
