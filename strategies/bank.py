"""A bank of trajectories, looked at on the way: what replays without models answer from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Annotated, ClassVar

from harness.records import Ability, Candidate, Draw, Noise, Task
from strategies.base import Rounds, Strategy, best
from strategies.trajectories import continued, readable_by, step_at, stop_at


def steps_of(text: str, steps: int) -> list[int]:
    """Return the steps after which draws are looked at, such as of ``5,10`` or ``0.25,0.5``.

    Args:
        text: Steps, or shares of them below 1; ascending.
        steps: Of a whole draw. A share that comes to all of them is no preview.

    Raises:
        ValueError: It is no such list, or a step is none of a whole draw's but the last.
    """
    places = _places(text)
    if places[-1] >= max(steps, 1):
        raise ValueError(f"there is no preview after step {places[-1]:g} of {steps}")
    ends = {int(place) if place >= 1 else step_at(place, steps) for place in places}
    return sorted(end for end in ends if end < steps)


def _places(text: str) -> list[float]:
    places = [float(part) for part in text.split(",")]
    if sorted(set(places)) != places or not all(
        place > 0 and (place < 1 or place.is_integer()) for place in places
    ):
        raise ValueError("previews are steps, or shares of them between 0 and 1, ascending")
    return places


@dataclass(frozen=True)
class Bank(Strategy):
    """Draws as many trajectories as the budget holds, each to its end, and keeps their previews.

    It is no way to search, though it returns the best image: use it where `what-if` is to answer.
    Its log holds what best-of-n, pruning and thresholds would ask for, at any budget up to its own,
    so that all of them are compared on the same draws, without a model. A trajectory goes on from
    each preview, which costs its decoding and judging and no step. Ours.

    Attributes:
        previews: After which steps, such as "5,10,15"; numbers below 1 are shares of the steps.
    """

    name: ClassVar[str] = "bank"
    abilities: ClassVar[frozenset[Ability]] = frozenset({Ability.PARTIAL})
    previews: Annotated[str, readable_by(_places)] = "0.25,0.5"

    def check(self, steps: int) -> None:
        """Refuse a preview that a draw has no step for."""
        steps_of(self.previews, steps)

    def search(self, task: Task) -> Rounds:
        """Draw all trajectories from preview to preview to their ends; return the best image."""
        ends = [*steps_of(self.previews, task.steps), task.steps]
        # Indices and noise of a trajectory are the same at any budget.
        latest: Sequence[Candidate] = yield [
            Draw(place * len(ends), noise=Noise(place), stop=stop_at(ends[0], task.steps))
            for place in range(task.budget)
        ]
        previews: list[Candidate] = []
        for _, end in pairwise(ends):
            previews += latest
            going = [candidate for candidate in latest if candidate.image is not None]
            if not going:
                return best(previews)
            latest = yield [
                replace(
                    continued(candidate, candidate.draw.index + 1, end, task.steps),
                    noise=candidate.draw.noise,
                )
                for candidate in going
            ]
        return best(latest) or best(previews)
