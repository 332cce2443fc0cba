"""Zero-order search: look for better noise around the best noise so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from harness.records import Candidate, Draw, Noise, Task
from strategies.base import AtLeastOne, Rounds, Strategy, best


@dataclass(frozen=True)
class NoiseSearch(Strategy):
    """Draws around the noise whose image the judge likes best, round by round.

    The zero-order search of Ma et al. (arXiv 2501.09732): a pivot, some neighbours at a given
    distance from it, the best of all becomes the next pivot. Distance is an angle here, so that
    every neighbour is standard normal noise. Use it where the judge's score tells more than right
    and wrong, and good images lie near good images; where scores are noisy or the first draws are
    far from right, independent draws explore more.

    Attributes:
        first: Independent draws among which the first pivot is chosen.
        neighbours: Neighbours a round.
        cosine: Of the angle between a pivot and its neighbours: nearer to 1 is nearer.
        rounds: Rounds of neighbours; 0 is as many as the budget holds.
    """

    name: ClassVar[str] = "noise-search"
    needs_judge: ClassVar[bool] = True
    first: AtLeastOne = 4
    neighbours: AtLeastOne = 4
    cosine: Annotated[float, Field(gt=-1.0, lt=1.0)] = 0.9
    rounds: Annotated[int, Field(ge=0)] = 0

    def search(self, task: Task) -> Rounds:
        """Draw a first round, then rounds of neighbours of the best."""
        seen: list[Candidate] = []
        seen += yield [Draw(index) for index in range(min(self.first, task.budget))]
        for _ in range(self.rounds or task.budget):
            indices = range(len(seen), min(len(seen) + self.neighbours, task.budget))
            if not indices:
                break
            pivot = best(seen)
            if pivot is None:  # all failed: there is nothing to be near to
                seen += yield [Draw(index) for index in indices]
                continue
            noise = pivot.draw.noise or Noise(pivot.draw.index)
            seen += yield [
                Draw(index, noise=Noise(noise.index, (*noise.turns, (index, self.cosine))))
                for index in indices
            ]
        return best(seen)
