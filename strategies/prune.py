"""Pruning: many trajectories are begun, and the best previews go on."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, ClassVar

from harness.records import Ability, Candidate, Draw, Task
from strategies.base import Rounds, Strategy, best, ranked
from strategies.trajectories import continued, readable_by, step_at, stop_at


@dataclass(frozen=True)
class Cut:
    """A place on the trajectory at which draws are pruned."""

    step: int
    survivors: int


def parse(text: str) -> list[tuple[float, float]]:
    """Return the (place, survivors) pairs of a schedule such as ``0.25:0.5,0.5:0.25``.

    Both are shares: of the steps, ascending, and of the draws that were begun, falling.

    Raises:
        ValueError: It is no such schedule.
    """
    pairs = []
    for part in text.split(","):
        place, _, survivors = part.partition(":")
        try:
            pairs.append((float(place), float(survivors)))
        except ValueError:
            raise ValueError(f"'{part}' is not 'place:survivors', two shares") from None
    places, shares = [place for place, _ in pairs], [share for _, share in pairs]
    if not all(0 < place < 1 for place in places) or sorted(set(places)) != places:
        raise ValueError("places are shares of the steps between 0 and 1, ascending")
    if not all(0 < share <= 1 for share in shares) or sorted(shares, reverse=True) != shares:
        raise ValueError("survivors are shares of the draws begun, at most 1, falling")
    return pairs


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


@lru_cache(maxsize=64)  # every search of a run asks for the same
def plan(text: str, steps: int, allowed: int) -> tuple[int, list[Cut]]:
    """Return how many draws of so many steps can be begun, and where how many of them go on.

    Returns:
        The most draws whose steps are allowed in all, at least 1, and the cuts. Places that fall on
        the same step are one cut; a cut that would come after the last step but one is none.
    """
    pairs = parse(text)

    def cost(number: int) -> int:
        return _cost(_cuts(pairs, steps, number), number, steps)

    number = max(1, bisect_right(range(1, allowed + 1), allowed, key=cost))
    return number, _cuts(pairs, steps, number)


def _cuts(pairs: Sequence[tuple[float, float]], steps: int, number: int) -> list[Cut]:
    cuts: dict[int, Cut] = {}
    for place, share in pairs:
        step = step_at(place, steps)
        if step < steps:
            cuts[step] = Cut(step, max(1, min(number, int(share * number + 1e-9))))
    return list(cuts.values())


def _cost(cuts: Sequence[Cut], number: int, steps: int) -> int:
    cost, at = 0, 0
    for cut in cuts:
        cost += number * (cut.step - at)
        at, number = cut.step, cut.survivors
    return cost + number * (steps - at)
