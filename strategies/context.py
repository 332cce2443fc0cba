"""The common part of feedback strategies: rejected candidates become the next draw's context."""

from __future__ import annotations

import random
from collections.abc import Generator, Iterable, Sequence
from typing import Any

from harness.records import Candidate, Draw, Feedback
from strategies.base import best


def feedback_on(candidates: Sequence[Candidate]) -> list[Feedback]:
    """A (image, sentence) pair for each candidate the judge has spoken of, in the same order."""
    return [
        Feedback(c.id, c.verdict.sentence) for c in candidates if c.ok and c.verdict is not None
    ]


def choose(
    pairs: Sequence[Feedback], size: int, rng: random.Random, *, distinct: bool = True
) -> tuple[Feedback, ...]:
    """The pairs, oldest first, that go into a context of limited size, as Reflect-DiT chooses them.

    All of them while they fit; afterwards a random sample, without replacement, of the pairs
    with distinct sentences (the first pair of each), so that a judge which repeats itself does
    not fill the context with one complaint (arXiv 2503.12271 and its public script); or of all.
    """
    if len(pairs) <= size:
        return tuple(pairs)
    population = list(pairs)
    if distinct:
        first: dict[str, Feedback] = {}
        for pair in pairs:
            first.setdefault(pair.sentence, pair)
        population = list(first.values())
    return tuple(rng.sample(population, min(size, len(population))))


def reflected(
    chain: Sequence[Candidate], indices: Iterable[int], size: int, rng: random.Random
) -> Generator[Sequence[Draw], Sequence[Any], list[Candidate]]:
    """Draw one image after the other, told of the chain so far, until one is accepted.

    Args:
        chain: Candidates to begin with.
        indices: Of the draws, at most.
        size: The most pairs that a draw is conditioned on.
        rng: Chooses them.

    Returns:
        The new candidates.
    """
    drawn: list[Candidate] = []
    for index in indices:
        drawn += yield [Draw(index, choose(feedback_on([*chain, *drawn]), size, rng))]
        if drawn[-1].accepted:
            break
    return drawn


def best_accepted(candidates: Sequence[Candidate]) -> Candidate | None:
    """Of the accepted candidates of a round the one the judge scores highest, or None.

    A round is paid for whole, so choosing among its accepted images costs nothing.
    """
    return best([candidate for candidate in candidates if candidate.accepted])
