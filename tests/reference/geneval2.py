"""GenEval 2's sums over prompts as the official analysis makes them, from the product's means."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.geneval2.scoring import geometric_mean


def arithmetic_mean(scores: Sequence[float]) -> float:
    """Soft-TIFA AM of a prompt's atoms, hard TIFA of their zeros and ones."""
    if not scores:
        raise ValueError("a prompt without atoms has no score")
    return sum(scores) / len(scores)


def is_match(prediction: str, accepted: Sequence[str]) -> bool:
    """Return whether a predicted token is right (hard TIFA): in lower case, not stripped."""
    return prediction.lower() in accepted


@dataclass(frozen=True, slots=True)
class Graded:
    """One prompt: its `atom_count`, which counts no articles, and each atom's skill and score."""

    atomicity: int
    skills: tuple[str, ...]
    scores: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.skills) != len(self.scores):
            raise ValueError(f"{len(self.scores)} scores for {len(self.skills)} atoms")


@dataclass(frozen=True, slots=True)
class Totals:
    """Scores over prompts, times 100 as they are published.

    Attributes:
        am: Mean over prompts of the arithmetic means.
        gm: Mean over prompts of the geometric means, the headline.
        skills: Mean over all atoms of each skill, in the order in which skills first occur.
        atomicities: Mean geometric mean of the prompts of each atomicity, ascending.
    """

    am: float
    gm: float
    skills: Mapping[str, float]
    atomicities: Mapping[int, float]


def totals(prompts: Sequence[Graded]) -> Totals:
    """Sum up prompts. A skill or atomicity that none of them has is left out, not divided by 0.

    Raises:
        ValueError: There is no prompt.
    """
    if not prompts:
        raise ValueError("no prompt has a score")
    skills: defaultdict[str, list[float]] = defaultdict(list)
    atomicities: defaultdict[int, list[float]] = defaultdict(list)
    for prompt in prompts:
        atomicities[prompt.atomicity].append(geometric_mean(prompt.scores))
        for skill, score in zip(prompt.skills, prompt.scores, strict=True):
            skills[skill].append(score)
    return Totals(
        am=100 * arithmetic_mean([arithmetic_mean(prompt.scores) for prompt in prompts]),
        gm=100 * arithmetic_mean([geometric_mean(prompt.scores) for prompt in prompts]),
        skills={name: 100 * arithmetic_mean(scores) for name, scores in skills.items()},
        atomicities={
            count: 100 * arithmetic_mean(scores) for count, scores in sorted(atomicities.items())
        },
    )
