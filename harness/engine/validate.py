"""Answers of models are held against what they can possibly be.

A broken device or model hands back NaN, black pictures, or rows that are missing. Each of these is
a failed try, to be counted and made again, and never a score: the check raises `BadAnswer`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from harness.errors import BadAnswer, Failure
from harness.records import Cost, Image, Made, Request, Role, Score, Verdict
from harness.text import is_encodable


def check_length(role: Role, asked: int, answered: int) -> None:
    """Refuse an answer with too few or too many rows."""
    if asked != answered:
        raise BadAnswer(
            Failure.WRONG_SHAPE, f"the {role} answered {answered} rows of a batch of {asked}"
        )


def check_image(image: Image, settings: Mapping[str, Any]) -> None:
    """Refuse what cannot be a picture, bytes of shape (height, width, 3) as the settings have them.

    Numbers other than bytes are refused, NaN among them. So is pure black, which is what NaN
    becomes as bytes. Any other picture of one colour is a bad picture, and judged as one.
    """
    if image.dtype != np.uint8:
        if np.issubdtype(image.dtype, np.inexact) and not np.isfinite(image).all():
            raise BadAnswer(Failure.NAN_IMAGE, "the generator made an image with NaN or infinity")
        raise BadAnswer(
            Failure.WRONG_SHAPE, f"the generator made an image of {image.dtype}, not of bytes"
        )
    expected = (settings.get("height"), settings.get("width"), 3)
    if None not in expected and image.shape != expected:
        raise BadAnswer(
            Failure.WRONG_SHAPE,
            f"the generator made an image of shape {image.shape}, not {expected}",
        )
    if not image.any():
        raise BadAnswer(Failure.BLACK_IMAGE, "the generator made an entirely black image")


def check_verdict(verdict: Verdict) -> None:
    """Refuse a verdict without a yes or no, or with a score that cannot be compared."""
    _check_bool(Role.JUDGE, "accepted", verdict.accepted)
    if not _finite(verdict.score):
        raise _bad(f"the judge gave the score {verdict.score}")
    if not all(map(_finite, verdict.members)):
        raise _bad(f"the judge's members gave {list(verdict.members)}")


def check_score(score: Score) -> None:
    """Refuse a score without a yes or no, with a grade below 0 or with impossible evidence."""
    _check_bool(Role.SCORER, "correct", score.correct)
    if not (_finite(score.value) and score.value >= 0):
        raise _bad(f"the scorer gave the grade {score.value}")
    if len(score.evidence) != max(len(score.detections), len(score.answers)):
        raise _bad("the scorer's evidence is neither detections nor answers throughout")
    for answer in score.answers:
        for name in ("probability", "weight"):
            number = getattr(answer, name)
            if number is not None and not (_finite(number) and number >= 0):
                raise _bad(
                    f"the scorer gave the answer to '{answer.question}' a {name} of {number}"
                )
    for detection in score.detections:
        if not (_finite(detection.score) and 0 <= detection.score <= 1):
            raise _bad(
                f"the scorer found '{detection.label}' with a confidence of {detection.score}"
            )
        if len(detection.box) != 4 or not all(map(_finite, detection.box)):
            raise _bad(f"the scorer found '{detection.label}' in the box {detection.box}")


def check_metrics(metrics: Mapping[str, float]) -> None:
    """Refuse a measure that is no number."""
    for name, value in metrics.items():
        if not _finite(value):
            raise _bad(f"the metric '{name}' gave {value}")


def check_reply(text: object) -> None:
    """Refuse an answer that is no text, or that no log could hold."""
    if not isinstance(text, str) or not is_encodable(text):
        raise BadAnswer(Failure.WRONG_SHAPE, f"the judge replied {text!r}, which is no text")


def check_state(request: Request[Any], made: Made) -> None:
    """Refuse a draw that stopped without saying in which state."""
    if request.stop is not None and not made.state:
        raise BadAnswer(Failure.WRONG_SHAPE, "the generator stopped a draw and gave no state")


def check_cost(role: Role, cost: Cost) -> None:
    """Refuse a cost that would spoil every sum it is in."""
    for unit in ("nfe", "flops", "tokens"):
        value = getattr(cost, unit)
        if unit == "flops" and value is None:
            continue  # not counted, which is no number to be wrong
        if not (_finite(value) and value >= 0):
            raise _bad(f"the {role} spent {value} {unit}")


def _check_bool(role: Role, name: str, value: object) -> None:
    if not isinstance(value, bool | np.bool_):
        raise _bad(f"the {role} answered {name}={value!r}, not true or false")


def _finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except (TypeError, ValueError):
        return False


def _bad(message: str) -> BadAnswer:
    return BadAnswer(Failure.BAD_NUMBER, message)
