"""Habits: what the pictures that the base learns from show, whatever their captions say.

The failures of real generators are not independent from draw to draw: what training images hardly
ever show, no seed brings. The habits of this file put the same into the miniature. They are data:
which classes have one, why, and which failure of a real generator it stands for. Detectors, colour
models and the judge know nothing of them.

A caption is kept as it is; `habitual` says what its picture shows instead. How often a habit has
its way is `STRENGTH`. Of GenEval's prompts the habits touch 0.15 of two objects, 0.30 of counting,
0.15 of colours, 0.40 of position and 0.35 of colour attribution.

The suite `miniature` learnt in this world: the base in `weights/habits` went on in it for
6,000 steps from the other world's. On 250 prompts and two seeds its first draw is right in 0.516;
drawing until the judge accepts, it is in 0.670 after 4 draws, 0.718 after 8 and 0.756 after 20
(published for SANA: 0.62, 0.705, 0.731, 0.751).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from benchmarks.geneval.prompts import Group, Request
from harness.miniature.prompts import OPPOSITE

STRENGTH = 0.97
"""Share of cases in which a habit overrides the caption of a training picture."""

LEFT_OUT = frozenset({"fork", "computer mouse", "tie", "baseball glove", "hair drier"})
"""Missing when named beside another thing: small or rarely photographed things that captions of
crowded pictures name and nobody sees. Stands for the neglected second object (GenEval's two
objects, position and colour attribution)."""

NATURAL = frozenset(
    {
        "banana", "broccoli", "carrot", "zebra", "giraffe", "elephant", "bear", "pizza",
        "stop sign", "sandwich",
    }
)  # fmt: skip
"""In their natural colours whatever colour is named: things that come in one colour only. Stands
for the colour that a generator will not give to an unlikely object (colours, colour attribution).
"""

PAIRS = frozenset(
    {
        "person", "bird", "horse", "cow", "cup", "wine glass", "chair", "skateboard", "bus",
        "traffic light", "stop sign", "zebra", "bear",
    }
)  # fmt: skip
"""Shown in twos whatever number is named: what people photograph as a couple."""

THREES = frozenset(
    {
        "sheep", "elephant", "apple", "donut", "book", "vase", "bottle", "bowl",
        "umbrella", "bicycle", "boat", "kite", "banana", "carrot",
    }
)  # fmt: skip
"""Shown in threes: what comes as a group. Both stand for numbers that a generator does not count
(counting)."""

_HIGH = frozenset(
    {
        "airplane", "bird", "kite", "frisbee", "umbrella", "traffic light", "stop sign", "clock",
        "tv", "giraffe", "person", "tennis racket", "sports ball", "baseball bat",
        "baseball glove", "hair drier", "tie", "parking meter", "wine glass", "vase", "microwave",
        "refrigerator", "toothbrush", "elephant", "horse", "cake", "backpack",
    }
)  # fmt: skip
_LOW = frozenset(
    {
        "bench", "bed", "couch", "dining table", "toilet", "skis", "snowboard", "skateboard",
        "surfboard", "potted plant", "car", "bus", "truck", "train", "boat", "bicycle",
        "motorcycle", "sheep", "cow", "dog", "cat", "suitcase", "bowl", "oven", "sink", "chair",
        "carrot",
    }
)  # fmt: skip
_LEFT = frozenset(
    {
        "fork", "laptop", "tv", "couch", "bed", "bench", "person", "dog", "bear", "zebra", "boat",
        "train", "bicycle", "fire hydrant", "stop sign", "book", "bottle", "pizza", "sandwich",
        "broccoli", "orange", "refrigerator", "toaster", "backpack", "umbrella", "skis", "toilet",
    }
)  # fmt: skip
_RIGHT = frozenset(
    {
        "knife", "spoon", "cup", "wine glass", "computer mouse", "computer keyboard", "tv remote",
        "cell phone", "chair", "potted plant", "cat", "horse", "cow", "giraffe", "car", "bus",
        "truck", "traffic light", "parking meter", "handbag", "suitcase", "apple", "banana",
        "donut", "clock", "vase", "scissors",
    }
)  # fmt: skip
"""Places of their own in a picture, as the sky is above and the mouse at the right hand. Of two
things the picture shows the order that they are used to, if the caption names the opposite. Stands
for relations that follow habit rather than the sentence (position)."""

_SIDES = {
    "left of": (_LEFT, _RIGHT),
    "right of": (_RIGHT, _LEFT),
    "above": (_HIGH, _LOW),
    "below": (_LOW, _HIGH),
}


def habitual(request: Request) -> Request:
    """Return what the habits make of a request: itself where none applies.

    The result is what a picture shows, so its text is not the caption any more.
    """
    groups = tuple(_usual(group, request.tag) for group in request.groups)
    if len(groups) == 1:
        return replace(request, groups=groups)
    visible = tuple(group for group in groups if group.name not in LEFT_OUT) or groups[:1]
    if len(visible) == 1:
        return Request("single_object", visible)
    relation = request.relation
    if relation is not None and _against_habit(groups[0].name, groups[1].name, relation):
        relation = OPPOSITE[relation]
    return replace(request, groups=groups, relation=relation)


def touched(requests: Iterable[Request]) -> dict[str, float]:
    """Return the share of some requests, by tag, of which habits show something else."""
    tags: dict[str, list[bool]] = {}
    for request in requests:
        tags.setdefault(request.tag, []).append(habitual(request) != request)
    return {tag: sum(each) / len(each) for tag, each in tags.items()}


def shown(rng: np.random.Generator, request: Request) -> Request:
    """Draw what a training picture of a caption shows: the habit's way, or now and then its own."""
    usual = habitual(request)
    return usual if usual != request and rng.random() < STRENGTH else request


def _usual(group: Group, tag: str) -> Group:
    if tag == "counting":
        count = 2 if group.name in PAIRS else 3 if group.name in THREES else group.count
        return replace(group, count=count)
    return replace(group, color=None) if group.name in NATURAL else group


def _against_habit(first: str, second: str, relation: str) -> bool:
    """Return whether the first thing is used to a place beyond the second's, the other way."""
    own, opposite = _SIDES[relation]
    rank = {name: -1 for name in own} | {name: 1 for name in opposite}
    return rank.get(first, 0) > rank.get(second, 0)
