"""Schedules of pruning: at which share of a trajectory which share of the draws goes on."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from strategies.trajectories import step_at


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
