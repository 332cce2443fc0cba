"""GenEval's rules: from detected objects to a verdict, as pure functions.

The rules need labels, scores and boxes only, and the colours of a few objects, which
`colors_needed` names beforehand so that a classifier can see the objects of many images in one
batch. Scores and boxes are float32 throughout, as the detector gives them: thresholds are
compared and offsets computed in that precision, since a verdict can hang on the last bit.

Source: arXiv 2310.11513, section 3.2; `evaluation/evaluate_images.py` of
github.com/djghosh13/geneval, with whose verdicts these rules are tested to agree.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.geneval.classes import COLORS, RELATIONS

Floats = npt.NDArray[np.float32]

SCORE_THRESHOLD = 0.3
COUNTING_THRESHOLD = 0.9
"""Counting asks for more certainty: doubtful detections would be counted as objects."""
MAX_OBJECTS = 16
"""Objects of a class that count at most."""
MAX_OVERLAP = 1.0
"""IoU from which the worse of two objects of a class is dropped; 1.0 drops none."""
_POSITION_SHRINK = 0.1
_NO_OFFSET = 1e-3
_DIRECTION = 0.5

ObjectIndices = Mapping[str, tuple[int, ...]]
"""Objects that count, by class: indices into the image's detections, best first."""


class FailureKind(StrEnum):
    """The kinds of fault of an image."""

    MISSING = "missing"
    TOO_FEW = "too few"
    TOO_MANY = "too many"
    WRONG_COLOR = "wrong color"
    WRONG_RELATION = "wrong relation"
    NO_TARGET = "no target"
    """The object is there, but not what it should stand in relation to (a failure of its own)."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One thing that is wrong with an image.

    Attributes:
        kind: What went wrong; it says which of the fields below are set.
        label: Class of the object in question.
        count: Objects asked for; for `TOO_MANY` the number that is already too many.
        actual: Objects found; for `WRONG_COLOR` those of the colour asked for.
        color: The colour asked for, or "".
        colors: The colour each of the objects looked at is taken for, best object first.
        relation: The relation asked for, or "".
        relations: The relations found instead (none, one or two).
        target: Class of the object that `relation` refers to, or "".
    """

    kind: FailureKind
    label: str
    count: int = 0
    actual: int = 0
    color: str = ""
    colors: tuple[str, ...] = ()
    relation: str = ""
    relations: tuple[str, ...] = ()
    target: str = ""

    @property
    def reason(self) -> str:
        """The failure as the official evaluator words it."""
        match self.kind:
            case FailureKind.MISSING | FailureKind.TOO_FEW:
                return f"expected {self.label}>={self.count}, found {self.actual}"
            case FailureKind.TOO_MANY:
                return f"expected {self.label}<{self.count}, found {self.actual}"
            case FailureKind.WRONG_COLOR:
                tally = Counter(self.colors)
                seen = ", ".join(f"{tally[color]} {color}" for color in COLORS if tally[color])
                expected = f"{self.color} {self.label}>={self.count}"
                return f"expected {expected}, found {self.actual} {self.color}; and {seen}"
            case FailureKind.WRONG_RELATION:
                seen = " and ".join(self.relations)
                return f"expected {self.label} {self.relation} target, found {seen} target"
            case FailureKind.NO_TARGET:
                return f"no target for {self.label} to be {self.relation}"

    @property
    def sentence(self) -> str:
        """The failure as Reflect-DiT's feedback data word it (arXiv 2503.12271, section 3).

        Plain words without grammar's finer points ("3 clock"): a model conditioned on such
        sentences was trained on exactly these. A relation that cannot hold because its target is
        not as it should be gets none (""): what is wrong is said where the target is asked for.
        """
        label, count, number = self.label, self.count, self.actual
        match self.kind:
            case FailureKind.MISSING:
                return f"There is no {label} in image."
            case FailureKind.TOO_FEW:
                return f"There should be {count} {label}, but only {number} exists in image."
            case FailureKind.TOO_MANY:
                # Its count is the number that is already one too many.
                return f"There should be {count - 1} {label}, but {number} exists in image."
            case FailureKind.WRONG_COLOR:
                seen = dict.fromkeys(color for color in self.colors if color != self.color)
                return f"The {label} should be {self.color}, but it is {' and '.join(seen)}."
            case FailureKind.WRONG_RELATION:
                at = " and ".join(self.relations) or "too close to"
                target = f"the {self.target}"
                return f"{label} should be {self.relation} {target}, but it is {at} {target}."
            case FailureKind.NO_TARGET:
                return ""


def sentences(failures: Iterable[Failure]) -> str:
    """Say everything that is wrong, one sentence a failure; "" if nothing is."""
    return " ".join(failure.sentence for failure in failures if failure.sentence)


_KINDS = {
    "color": re.compile(r"expected .+, found \d+ .+; and .+"),
    "position": re.compile(r"expected .+, found .* target|no target for .+"),
    "missing object": re.compile(r"expected .+>=\d+, found 0"),
    "count": re.compile(r"expected .+(<|>=)\d+, found \d+"),
}


def kinds_in(reason: str) -> tuple[str, ...]:
    """Return the kinds of failures in a reason of the official wording, each once."""
    kinds = (
        next((kind for kind, pattern in _KINDS.items() if pattern.fullmatch(line)), "other")
        for line in reason.splitlines()
    )
    return tuple(dict.fromkeys(kinds))


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict on one image: everything that is wrong, in the order the prompt asks for it."""

    failures: tuple[Failure, ...] = ()

    @property
    def correct(self) -> bool:
        """True if the image shows what the prompt asks for."""
        return not self.failures

    @property
    def reason(self) -> str:
        """Every failure in the official wording, one a line; "" if none."""
        return "\n".join(failure.reason for failure in self.failures)


def keep(
    labels: Sequence[str],
    scores: Floats,
    boxes: Floats,
    *,
    tag: str,
    max_overlap: float = MAX_OVERLAP,
) -> dict[str, tuple[int, ...]]:
    """Choose the detections that count as objects.

    Args:
        labels: Class of each detection.
        scores: Confidence of each detection, shape (n,).
        boxes: x0, y0, x1, y1 of each detection, shape (n, 4).
        tag: The prompt's task; counting has a higher threshold.
        max_overlap: An object that overlaps a better one of its class by this IoU or more is
            dropped; 1.0 switches this off, as the published scores have it.

    Returns:
        Indices of the detections that count by class, best first. Classes without any are absent.
    """
    threshold = COUNTING_THRESHOLD if tag == "counting" else SCORE_THRESHOLD
    # A stable ascending sort read backwards: of equal scores the last comes first, as officially.
    order = np.argsort(scores, kind="stable")[::-1]
    by_class: dict[str, list[int]] = {}
    for index in order[scores[order] > np.float32(threshold)].tolist():
        indices = by_class.setdefault(labels[index], [])
        if len(indices) < MAX_OBJECTS:
            indices.append(index)
    if max_overlap == 1.0:
        return {label: tuple(indices) for label, indices in by_class.items()}
    return {label: _suppress(indices, boxes, max_overlap) for label, indices in by_class.items()}


def nth_best(entry: Mapping[str, Any], confidences: Mapping[str, Sequence[float]]) -> float:
    """Return the confidence of the `count`-th best object of an entry's class; 0 if there is none.

    Confidences are those of every detection by class, in any order.
    """
    ordered = sorted(confidences.get(entry["class"], ()), reverse=True)
    return ordered[entry["count"] - 1] if len(ordered) >= entry["count"] else 0.0


def colors_needed(metadata: Mapping[str, Any], objects: ObjectIndices) -> list[int]:
    """Say which objects' colours `judge` will ask for, given the same arguments.

    Returns:
        Indices of detections, without repetitions, in the order they are asked for.
    """
    needed: dict[int, None] = {}
    for entry in metadata.get("include", ()):
        group = objects.get(entry["class"], ())
        if "color" in entry and len(group) >= entry["count"]:
            needed.update(dict.fromkeys(group[: entry["count"]]))
    return list(needed)


def judge(
    metadata: Mapping[str, Any],
    objects: ObjectIndices,
    boxes: Floats,
    color_of: Callable[[int], str],
) -> Judgement:
    """Hold the objects that count against what the prompt asks for.

    Args:
        metadata: The prompt's row: `include` and `exclude` requirements.
        objects: What `keep` returned.
        boxes: Boxes of all detections, shape (n, 4).
        color_of: Colour of a detection; called for the ones that `colors_needed` names only.
    """
    failures: list[Failure] = []
    groups: list[tuple[int, ...] | None] = []
    for entry in metadata.get("include", ()):
        # More than asked for is no failure here, but only the best are looked at further.
        group = objects.get(entry["class"], ())[: entry["count"]]
        failure = _check_count(entry, group) or _check_color(entry, group, color_of)
        if failure is None and "position" in entry:
            target = metadata["include"][entry["position"][1]]["class"]
            failure = _check_position(entry, group, groups, target, boxes)
        if failure is not None:
            failures.append(failure)
        groups.append(group if failure is None else None)
    for limit in metadata.get("exclude", ()):
        label, count = limit["class"], limit["count"]
        number = len(objects.get(label, ()))
        if number >= count:
            failures.append(Failure(FailureKind.TOO_MANY, label, count, number))
    return Judgement(tuple(failures))


def relative_position(box: Floats, target: Floats) -> tuple[str, ...]:
    """Say where a box is, seen from a target box.

    The offset of the centres is shortened on each axis by a tenth of the two boxes' summed
    size; nothing left means no relation. What is left, over the length of the whole offset,
    must pass one half on an axis to count there. (The official evaluator lists two relations
    in no particular order; here it is that of `RELATIONS`.)

    Returns:
        None, one or two of `RELATIONS`.
    """
    corners = np.stack([box, target]).reshape(2, 2, 2)
    centre, target_centre = corners.mean(axis=1)
    sizes = np.abs(corners[:, 1] - corners[:, 0])
    offset = centre - target_centre
    slack = np.float32(_POSITION_SHRINK) * (sizes[0] + sizes[1])
    left = np.maximum(np.abs(offset) - slack, 0) * np.sign(offset)
    if np.all(np.abs(left) < np.float32(_NO_OFFSET)):
        return ()
    x, y = left / np.linalg.norm(offset)
    holds = (x < -_DIRECTION, x > _DIRECTION, y < -_DIRECTION, y > _DIRECTION)
    return tuple(name for name, held in zip(RELATIONS, holds, strict=True) if held)


def _check_count(entry: Mapping[str, Any], group: tuple[int, ...]) -> Failure | None:
    if len(group) >= entry["count"]:
        return None
    kind = FailureKind.TOO_FEW if group else FailureKind.MISSING
    return Failure(kind, entry["class"], entry["count"], len(group))


def _check_color(
    entry: Mapping[str, Any], group: tuple[int, ...], color_of: Callable[[int], str]
) -> Failure | None:
    if "color" not in entry:
        return None
    colors = tuple(color_of(index) for index in group)
    right = colors.count(entry["color"])
    if right >= entry["count"]:
        return None
    label, count = entry["class"], entry["count"]
    return Failure(
        FailureKind.WRONG_COLOR, label, count, right, color=entry["color"], colors=colors
    )


def _check_position(
    entry: Mapping[str, Any],
    group: tuple[int, ...],
    groups: Sequence[tuple[int, ...] | None],
    target: str,
    boxes: Floats,
) -> Failure | None:
    relation, number = entry["position"]
    asked = entry["class"], entry["count"], len(group)
    named = {"relation": relation, "target": target}
    if (targets := groups[number]) is None:
        return Failure(FailureKind.NO_TARGET, *asked, **named)
    for index in group:
        for other in targets:
            relations = relative_position(boxes[index], boxes[other])
            if relation not in relations:
                return Failure(FailureKind.WRONG_RELATION, *asked, relations=relations, **named)
    return None


def _suppress(order: Sequence[int], boxes: Floats, max_overlap: float) -> tuple[int, ...]:
    """Greedy suppression: take the best, drop what overlaps it too much, repeat."""
    chosen: list[int] = []
    for index in order:
        if all(_overlap(boxes[better], boxes[index]) < max_overlap for better in chosen):
            chosen.append(index)
    return tuple(chosen)


def _overlap(a: Floats, b: Floats) -> float:
    """IoU of two boxes whose last row and column of pixels belong to them."""
    common = _area(np.concatenate([np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])]))
    union = _area(a) + _area(b) - common
    return float(common / union) if union else 0.0


def _area(box: Floats) -> np.float32:
    width, height = np.maximum(box[2:] - box[:2] + np.float32(1), 0)
    return np.float32(width * height)
