"""GenEval 2's arithmetic: from the scores of a prompt's atoms to those of prompt and benchmark.

Source: Kamath et al., "GenEval 2: Addressing Benchmark Drift in Text-to-Image Evaluation", arXiv
2512.16853; official behaviour as in github.com/facebookresearch/GenEval2 at a6e82d2. A prompt's
scores are matched to its atoms by position, which is all that the official analysis has.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.geneval.classes import NUMBERS

YES = ("Yes", "yes", " yes", " Yes")
"""How the answer may be spelt to every question that does not ask for a number."""

_COUNTING = "How many"
_DIGITS = {word: str(number) for number, word in enumerate(NUMBERS) if number}
_NO_DIGIT = "other"  # official for every number that the table lacks


def spellings(question: str, answer: str) -> tuple[str, ...]:
    """Return the spellings whose first tokens' probabilities are summed to an atom's score.

    Official: only questions that begin with "How many" have an answer of their own; to any other
    the answer is yes, whatever the data say.
    """
    if not question.startswith(_COUNTING):
        return YES
    digit = _DIGITS.get(answer, _NO_DIGIT)
    return tuple(
        f"{before}{word}"
        for pair in ((answer, answer.capitalize()), (digit,))
        for before in ("", " ")
        for word in pair
    )


def is_match(prediction: str, accepted: Sequence[str]) -> bool:
    """Return whether a predicted token is right (hard TIFA): in lower case, not stripped."""
    return prediction.lower() in accepted


def arithmetic_mean(scores: Sequence[float]) -> float:
    """Soft-TIFA AM of a prompt's atoms, hard TIFA of their zeros and ones.

    Raises:
        ValueError: There is no atom.
    """
    if not scores:
        raise ValueError("a prompt without atoms has no score")
    return sum(scores) / len(scores)


def geometric_mean(scores: Sequence[float]) -> float:
    """Soft-TIFA GM of a prompt's atoms: 0 if any of them is 0.

    Raises:
        ValueError: There is no atom.
    """
    if not scores:
        raise ValueError("a prompt without atoms has no score")
    if min(scores) <= 0:
        return 0.0
    return math.exp(math.fsum(map(math.log, scores)) / len(scores))


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
