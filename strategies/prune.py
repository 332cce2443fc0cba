"""Pruning: many trajectories are begun, and the best previews go on."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from harness.records import Ability, Candidate, Draw, Task
from strategies.base import Rounds, Strategy, best, ranked
from strategies.schedules import parse, plan
from strategies.trajectories import continued, readable_by, stop_at

Schedule = Annotated[str, readable_by(parse)]


@dataclass(frozen=True)
class Prune(Strategy):
    """Begins more draws than the budget holds, and finishes those whose previews look best.

    Early pruning as in arXiv 2607.21591: with the default schedule 2N trajectories are begun for a
    budget of N, N go on after a quarter of the steps and N/2 after half, which costs N whole draws.
    Use it where the judge can tell from a preview how the image will end, which a report's table of
    previews says; judging previews is not free.

    Attributes:
        schedule: Cuts as ``place:survivors``, shares of the steps and of the draws begun.
    """

    name: ClassVar[str] = "prune"
    abilities: ClassVar[frozenset[Ability]] = frozenset({Ability.PARTIAL})
    needs_judge: ClassVar[bool] = True
    schedule: Schedule = "0.25:0.5,0.5:0.25"

    def search(self, task: Task) -> Rounds:
        """Begin as many draws as the schedule allows; cut them down; return the best."""
        finished, previews = yield from pruned(task, self.schedule, task.budget * task.steps)
        return best(finished) or best(previews)


def pruned(
    task: Task, text: str, allowed: int
) -> Generator[Sequence[Draw], Sequence[Any], tuple[list[Candidate], list[Candidate]]]:
    """Prune by a schedule; a part of a search, of so many steps, with draw indices from 0.

    Returns:
        The finished candidates and the previews, failed ones included.
    """
    number, cuts = plan(text, task.steps, allowed)
    ends = [*(cut.step for cut in cuts), task.steps]
    previews: list[Candidate] = []
    latest: list[Candidate] = [
        *(yield [Draw(index, stop=stop_at(ends[0], task.steps)) for index in range(number)])
    ]
    index = number
    for cut, end in zip(cuts, ends[1:], strict=True):
        previews += latest
        survivors = ranked(latest)[: cut.survivors]
        if not survivors:
            return [], previews
        going = [
            continued(candidate, index + place, end, task.steps)
            for place, candidate in enumerate(survivors)
        ]
        latest = [*(yield going)]
        index += len(survivors)
    return latest, previews
