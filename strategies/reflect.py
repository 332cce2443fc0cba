"""Reflect-DiT: look at what went wrong, say it, draw again with that in mind."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar, Literal

from harness.records import Ability, Candidate, Draw, Task
from strategies.base import AtLeastOne, Rounds, Strategy, best, last
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
        distinct: Whether the pairs of a full context are drawn from those with distinct
            sentences, as published, or from all.
        accept: Accepted images after which the search ends; 1 as published. More of them buy a
            choice, and some safety from a judge that accepts too readily; more than the budget
            has it spend all of it. Only rejected images are reflected on.
        select: Among the accepted images, or among all if there is none: "last" takes the
            latest, as published; "best" the one the judge scores highest.
    """

    name: ClassVar[str] = "reflect"
    abilities: ClassVar[frozenset[Ability]] = frozenset({Ability.FEEDBACK})
    budget_only_limits: ClassVar[bool] = True
    context: AtLeastOne = 3
    distinct: bool = True
    accept: AtLeastOne = 1
    select: Literal["last", "best"] = "last"

    def search(self, task: Task) -> Rounds:
        """Draw one at a time until enough is accepted or the budget is spent."""
        rng = random.Random(task.seed)
        accepted: list[Candidate] = []
        others: list[Candidate] = []
        for index in range(task.budget):
            pairs = feedback_on(others)
            feedback = choose(pairs, self.context, rng, distinct=self.distinct)
            (answer,) = yield [Draw(index, feedback)]
            (accepted if answer.accepted else others).append(answer)
            if len(accepted) == self.accept:
                break
        pick = last if self.select == "last" else best
        return pick(accepted or others)
