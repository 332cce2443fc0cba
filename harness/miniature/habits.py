"""Habits: what the pictures that the base learns from show, whatever their captions say.

The failures of real generators are not independent from draw to draw: what training images hardly
ever show, no seed brings. The habits of `habits.toml` put the same into the miniature. They are
data: which classes have one, why, and which failure of a real generator it stands for. Detectors,
colour models and the judge know nothing of them.

A caption is kept as it is; `habitual` says what its picture shows instead. How often a habit has
its way is `STRENGTH`. Of GenEval's prompts the habits touch 0.15 of two objects, 0.30 of counting,
0.15 of colours, 0.40 of position and 0.35 of colour attribution.

The suite `miniature` learnt in this world: the base in `weights/habits` went on in it for
6,000 steps from the other world's. On 250 prompts and two seeds its first draw is right in 0.516;
drawing until the judge accepts, it is in 0.670 after 4 draws, 0.718 after 8 and 0.756 after 20
(published for SANA: 0.62, 0.705, 0.731, 0.751).
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.geneval.prompts import Group, Request
from harness.miniature.prompts import OPPOSITE

STRENGTH = 0.97
"""Share of cases in which a habit overrides the caption of a training picture."""

_DATA = Path(__file__).with_name("habits.toml").read_text(encoding="utf-8")
_HABITS = {name: frozenset(classes) for name, classes in tomllib.loads(_DATA).items()}
"""By habit: the classes that have it."""

_SIDES = {
    "left of": ("left", "right"), "right of": ("right", "left"),
    "above": ("high", "low"), "below": ("low", "high"),
}  # fmt: skip
"""By relation: the places of a first and a second thing that are used to it."""


def habitual(request: Request) -> Request:
    """Return what the habits make of a request: itself where none applies.

    The result is what a picture shows, so its text is not the caption any more.
    """
    groups = tuple(_usual(group, request.tag) for group in request.groups)
    if len(groups) == 1:
        return replace(request, groups=groups)
    left_out = _HABITS["left_out"]
    visible = tuple(group for group in groups if group.name not in left_out) or groups[:1]
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
        is_pair, is_three = group.name in _HABITS["pairs"], group.name in _HABITS["threes"]
        count = 2 if is_pair else 3 if is_three else group.count
        return replace(group, count=count)
    return replace(group, color=None) if group.name in _HABITS["natural"] else group


def _against_habit(first: str, second: str, relation: str) -> bool:
    """Return whether the first thing is used to a place beyond the second's, the other way."""
    own, opposite = (_HABITS[side] for side in _SIDES[relation])
    rank = {name: -1 for name in own} | {name: 1 for name in opposite}
    return rank.get(first, 0) > rank.get(second, 0)
