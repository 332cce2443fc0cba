"""GenEval 2's arithmetic: from the scores of a prompt's atoms to the score of the prompt.

Source: Kamath et al., "GenEval 2: Addressing Benchmark Drift in Text-to-Image Evaluation", arXiv
2512.16853; official behaviour as in github.com/facebookresearch/GenEval2 at a6e82d2. A prompt's
scores are matched to its atoms by position, which is all that the official analysis has.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

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
