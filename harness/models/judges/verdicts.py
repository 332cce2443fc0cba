"""Verdicts that follow from a number: an oracle's from the score, others from a metric."""

from __future__ import annotations

from harness.records import Score, Verdict


def of_score(score: Score) -> Verdict:
    """Return what the judge that knows the answers says of an image with this score."""
    return Verdict(
        accepted=score.correct,
        score=float(score.value),
        sentence=score.reason.replace("\n", ". "),
    )


def of_metric(value: float, accept: float | None) -> Verdict:
    """Return what a judge made of a metric says of an image.

    Args:
        value: The metric's.
        accept: Least value that is accepted; None accepts none.
    """
    return Verdict(accept is not None and value >= accept, value)
