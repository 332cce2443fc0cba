"""The faults of an image, in the sentences that Reflect-DiT's feedback data is made of.

A detector's findings in plain words, without grammar's finer points ("3 clock"): a model
conditioned on such sentences was trained on exactly these.

Source: Li et al., "Reflect-DiT", arXiv 2503.12271, section 3 (feedback from object detection).
"""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.geneval.rules import Failure, FailureKind


def sentences(failures: Iterable[Failure]) -> str:
    """Say everything that is wrong, one sentence a failure; "" if nothing is."""
    return " ".join(filter(None, map(sentence, failures)))


def sentence(failure: Failure) -> str:
    """Say one thing that is wrong.

    A relation that cannot hold because its target is not as it should be gets no sentence of
    its own (""): what is wrong with the target is said where the target is asked for.
    """
    label, count, number = failure.label, failure.count, failure.actual
    match failure.kind:
        case FailureKind.MISSING:
            return f"There is no {label} in image."
        case FailureKind.TOO_FEW:
            return f"There should be {count} {label}, but only {number} exists in image."
        case FailureKind.TOO_MANY:
            # Its count is the number that is already one too many.
            return f"There should be {count - 1} {label}, but {number} exists in image."
        case FailureKind.WRONG_COLOR:
            seen = dict.fromkeys(color for color in failure.colors if color != failure.color)
            return f"The {label} should be {failure.color}, but it is {' and '.join(seen)}."
        case FailureKind.WRONG_RELATION:
            seen_at = " and ".join(failure.relations) or "too close to"
            target = f"the {failure.target}"
            return f"{label} should be {failure.relation} {target}, but it is {seen_at} {target}."
        case FailureKind.NO_TARGET:
            return ""
