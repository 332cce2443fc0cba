"""Particle steering: sequential Monte Carlo over trajectories, guided by the judge's scores."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from harness.records import Ability, Candidate, Draw, Task
from strategies.base import Rounds, Share, Strategy, best
from strategies.steering import Population, Potential
from strategies.trajectories import continued, step_at, stop_at


@dataclass(frozen=True)
class ParticleSteering(Strategy):
    """Runs particles side by side and lets those with better previews multiply on the way.

    Feynman-Kac steering (arXiv 2501.06848): at some steps the judge scores every particle's
    preview, and the next particles are drawn among them by weights that its potential gives. The
    best finished image is selected. Use it where a judge's scores are worth something early on and
    spread over a scale; with few particles or a judge that says right or wrong, it is best-of-n at
    a higher price. Copies of a particle would stay copies under a deterministic solver, so all but
    the first are taken back some steps in noise, which their budget pays for.

    Attributes:
        particles: How many; 0, or more than the budget pays for, is as many as that.
        potential: "diff", "max", "sum" or "reward": see `strategies.steering`.
        temperature: λ, by which rewards are multiplied; published for images: 2 to 10.
        begin: Share of the steps at which particles are first looked at.
        end: Share after which they are looked at no more.
        every: Share between looks.
        adaptive: Whether particles are drawn anew only once half of them have lost their weight.
        renoise: Steps that copies are taken back; 0 leaves them copies, which only a solver that
            samples tells apart.
        official: Whether weights of looks without resampling are forgotten, as in the public code.
    """

    name: ClassVar[str] = "particle-steering"
    abilities: ClassVar[frozenset[Ability]] = frozenset({Ability.PARTIAL})
    needs_judge: ClassVar[bool] = True
    needs_scale: ClassVar[bool] = True
    particles: Annotated[int, Field(ge=0)] = 0
    potential: Potential = "max"
    temperature: Annotated[float, Field(gt=0.0)] = 10.0
    begin: Share = 0.2
    end: Share = 0.8
    every: Annotated[float, Field(gt=0.0, le=1.0)] = 0.2
    adaptive: bool = True
    renoise: Annotated[int, Field(ge=0)] = 1
    official: bool = False

    def check(self, steps: int) -> None:
        """Refuse looks that end before they begin, and a population of one."""
        if self.end < self.begin:
            raise ValueError(f"the last look, at {self.end:g}, is before the first")
        if self.particles == 1:
            raise ValueError("one particle has no others to be drawn among")

    def looks(self, steps: int) -> list[int]:
        """Return the steps after which particles are looked at, the last one excluded."""
        every = max(self.every, 0.5 / steps)  # nearer looks than steps are the same looks
        number = int((self.end - self.begin) / every + 1e-9) + 1
        shares = [self.begin + place * every for place in range(number)]
        return sorted({step for share in shares if (step := step_at(share, steps)) < steps})

    def search(self, task: Task) -> Rounds:
        """Run the particles to their ends; return the best image that is whole."""
        steps, looks = task.steps, self.looks(task.steps)
        dearest = steps + sum(min(self.renoise, look - 1) for look in looks)
        affordable = task.budget * steps // dearest
        size = min(self.particles or affordable, affordable)
        if size < 2 or not looks:  # nobody to draw among
            return best((yield [Draw(index) for index in range(task.budget)]))
        rng = random.Random(task.seed)
        population = Population(
            size, self.potential, self.temperature, adaptive=self.adaptive, official=self.official
        )
        previews: list[Candidate] = []
        latest: Sequence[Candidate] = yield [
            Draw(index, stop=stop_at(looks[0], steps)) for index in range(size)
        ]
        index = size
        for look, end in zip(looks, [*looks[1:], steps], strict=True):
            previews += latest
            if not any(candidate.ok for candidate in latest):
                break
            rewards = [candidate.score if candidate.ok else None for candidate in latest]
            weights = population.look(rewards, is_last=False)
            ancestors = [place for place, reward in enumerate(rewards) if reward is not None]
            if weights is not None:
                ancestors = rng.choices(range(len(latest)), weights, k=size)
            if weights is not None or len(ancestors) < len(latest):
                population.draw(ancestors, weights or [1.0] * len(latest))
            latest = yield [
                continued(
                    latest[ancestor], index + place, end, steps,
                    self._renoised(look) if ancestor in ancestors[:place] else None,
                )
                for place, ancestor in enumerate(ancestors)
            ]  # fmt: skip
            index += len(ancestors)
        whole = [candidate for candidate in latest if candidate.draw.stop is None]
        return best(whole) or best(previews)

    def _renoised(self, look: int) -> int | None:
        return max(1, look - self.renoise) if self.renoise and look > 1 else None
