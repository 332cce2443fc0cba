"""A bar on previews: what is below it is given up, and its steps begin another trajectory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, ClassVar

from harness.records import Ability, Candidate, Draw, Task
from strategies.base import AtLeastOne, Rounds, Strategy, best, ranked
from strategies.trajectories import continued, readable_by, step_at, stop_at


def places(text: str) -> list[float]:
    """Return the shares of a trajectory at which it is looked at, such as ``0.25,0.5``.

    Raises:
        ValueError: They are no ascending shares between 0 and 1.
    """
    shares = [float(part) for part in text.split(",")]
    if not all(0 < share < 1 for share in shares) or sorted(set(shares)) != shares:
        raise ValueError("looks are shares of the steps between 0 and 1, ascending")
    return shares


@dataclass(frozen=True)
class Threshold(Strategy):
    """Follows one trajectory while the judge's score of its previews is above a bar.

    Thresholding as in arXiv 2512.08985 and with rolled-over budgets as in arXiv 2503.19385: steps
    that a trajectory given up leaves begin another one. The search ends at the first finished
    image that the judge accepts, or when the budget cannot finish another. Use it where draws are
    made one after the other anyway and the judge's scores have a known scale.

    Attributes:
        bar: The judge's score that a preview must reach.
        looks: Where previews are looked at, shares of the steps.
        at_once: Trajectories followed at once: more fill batches, fewer waste less.
    """

    name: ClassVar[str] = "threshold"
    abilities: ClassVar[frozenset[Ability]] = frozenset({Ability.PARTIAL})
    needs_judge: ClassVar[bool] = True
    needs_scale: ClassVar[bool] = True
    bar: float = 0.5
    looks: Annotated[str, readable_by(places)] = "0.25,0.5"
    at_once: AtLeastOne = 1

    def search(self, task: Task) -> Rounds:
        """Follow trajectories until one is accepted or the budget is spent."""
        steps, left, index = task.steps, task.budget * task.steps, 0
        ends = sorted({step_at(share, steps) for share in places(self.looks)} | {steps})
        previews: list[Candidate] = []
        given_up: list[Candidate] = []
        finished: list[Candidate] = []
        while True:
            # What is begun can be finished, so one image at least is whole in the end.
            number = min(self.at_once, left // steps)
            if number < 1:
                break
            latest: Sequence[Candidate] = yield [
                Draw(index + place, stop=stop_at(ends[0], steps)) for place in range(number)
            ]
            index, left = index + number, left - number * ends[0]
            for at, end in pairwise(ends):
                previews += latest
                going = [c for c in ranked(latest) if c.score >= self.bar]
                given_up += [c for c in ranked(latest) if c.score < self.bar]
                latest = []
                if not going:
                    break
                latest = yield [
                    continued(candidate, index + place, end, steps)
                    for place, candidate in enumerate(going)
                ]
                index, left = index + len(going), left - len(going) * (end - at)
            finished += latest
            if any(candidate.accepted for candidate in latest):
                return best([candidate for candidate in latest if candidate.accepted])
        affordable = [c for c in ranked(given_up) if steps - (c.draw.stop or steps) <= left]
        if not ranked(finished) and affordable:
            finished += yield [continued(affordable[0], index, steps, steps)]
        return best(finished) or best(previews)
