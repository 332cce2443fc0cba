"""Faults of a scene, and the same scene with only the fault put right.

The renderer knows the truth, so what a rejected image should have been costs nothing: objects that
were found stay where they are, what fails is added, taken away, painted or moved. Reflection is
trained on such pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.geneval.classes import CLASSES
from benchmarks.geneval.prompts import COLORED_CLASSES, Group, Request
from harness.miniature.glyphs import COLOURS, sprite
from harness.miniature.prompts import MARGIN, OPPOSITE, are_separate, component, place
from harness.miniature.scenes import RGB, SIDE, Box, Scene, SceneObject

_TRIES = 120
"""Random places tried for what is missing before one of the found objects is given up."""
_SIZES = (16, 28)
"""Bounds on the size of an object that is drawn where one was found."""


@dataclass(frozen=True)
class Sighting:
    """An object that was found: its class and its x0, y0, x1, y1 in pixels."""

    name: str
    box: Box


def with_fault(rng: np.random.Generator, request: Request) -> Request:
    """A request whose scenes break the given one in one place."""
    first = request.groups[0]
    if request.tag == "counting":
        count = int(rng.choice([n for n in range(1, 6) if n != first.count]))
        return replace(request, groups=(replace(first, count=count),))
    if request.relation:
        # Only the opposite is surely wrong: what is above may stand to the left as well.
        return replace(request, relation=OPPOSITE[request.relation])
    number = int(rng.integers(len(request.groups)))
    group = request.groups[number]
    if group.color and rng.random() < 0.5:
        other = str(rng.choice([colour for colour in COLOURS if colour != group.color]))
        changed = replace(group, color=other)
    else:
        shown = {each.name for each in request.groups}
        pool = COLORED_CLASSES if group.color else CLASSES
        changed = replace(group, name=str(rng.choice([n for n in pool if n not in shown])))
    groups = list(request.groups)
    groups[number] = changed
    return replace(request, groups=tuple(groups))


def flawed(rng: np.random.Generator, request: Request) -> Request:
    """A request whose scenes fail as a generator's images do: also by leaving things out.

    Of two objects one is left out, or both take one colour, or a fault of ``with_fault`` is made.
    """
    first, *others = request.groups
    chance = rng.random()
    if others and chance < 0.35:
        remaining = request.groups[int(rng.integers(2))]
        return replace(request, tag="single_object", groups=(remaining,), relation=None)
    if others and first.color and chance < 0.6:
        colours = [group.color or "" for group in request.groups]
        mixed = colours[::-1] if chance < 0.48 else [str(rng.choice(colours))] * 2
        groups = tuple(
            replace(group, color=colour)
            for group, colour in zip(request.groups, mixed, strict=True)
        )
        return replace(request, groups=groups)
    return with_fault(rng, request)


def edge_colours(image: NDArray[np.uint8], sightings: Sequence[Sighting]) -> tuple[RGB, RGB]:
    """The background at an image's top and bottom edge: medians of the pixels outside all boxes."""
    free = np.ones(image.shape[:2], bool)
    for sighting in sightings:
        x0, y0, x1, y1 = (round(side) for side in sighting.box)
        free[max(0, y0) : y1, max(0, x0) : x1] = False
    ends = []
    for rows in (slice(0, 3), slice(SIDE - 3, SIDE)):
        pixels = image[rows][free[rows]]
        if not len(pixels):
            pixels = image[rows].reshape(-1, 3)
        red, green, blue = np.median(pixels, axis=0)
        ends.append((round(float(red)), round(float(green)), round(float(blue))))
    return ends[0], ends[1]


def corrected(
    rng: np.random.Generator,
    request: Request,
    sightings: Sequence[Sighting],
    edges: tuple[RGB, RGB],
) -> Scene:
    """A scene that shows what was asked for and keeps what could stay.

    Args:
        rng: Places what is missing.
        request: What was asked for.
        sightings: Objects found, the surest first. What nobody asked for is left out.
        edges: Background at the top and at the bottom.
    """
    groups = [group for group in request.groups for _ in range(group.count)]
    slots = _matched(groups, sightings)
    while any(slots):
        objects = _filled(rng, groups, slots, request.relation)
        if objects is not None:
            return Scene(objects, *edges)
        last = max(number for number, item in enumerate(slots) if item)
        slots[last] = None
    named = [(group.name, group.color) for group in groups]
    return Scene(place(rng, named, request.relation), *edges)


def _matched(groups: Sequence[Group], sightings: Sequence[Sighting]) -> list[SceneObject | None]:
    """For each object asked for, the surest one found that keeps clear of those before it."""
    left = list(sightings)
    slots: list[SceneObject | None] = []
    for group in groups:
        chosen = None
        for sighting in [each for each in left if each.name == group.name]:
            left.remove(sighting)
            item = _redrawn(group, sighting.box)
            if all(are_separate(item.box, other.box, 0) for other in slots if other):
                chosen = item
                break
        slots.append(chosen)
    return slots


def _redrawn(group: Group, box: Box) -> SceneObject:
    """An object asked for, as large as the one found and with the same centre."""
    x0, y0, x1, y1 = box
    size = int(np.clip(round(max(x1 - x0, y1 - y0)), *_SIZES))
    height, width = sprite(group.name, group.color, size).shape[:2]
    x = int(np.clip(round((x0 + x1 - width) / 2), 0, SIDE - width))
    y = int(np.clip(round((y0 + y1 - height) / 2), 0, SIDE - height))
    return SceneObject(group.name, group.color, x, y, size)


def _filled(
    rng: np.random.Generator,
    groups: Sequence[Group],
    slots: Sequence[SceneObject | None],
    relation: str | None,
) -> tuple[SceneObject, ...] | None:
    """The scene with its gaps filled; a pair that stands the wrong way round changes places."""
    tries = _TRIES if None in slots else 1
    for _ in range(tries):
        items = [
            item if item is not None else _anywhere(rng, group)
            for group, item in zip(groups, slots, strict=True)
        ]
        if _sound(items, slots, relation):
            return tuple(items)
    if relation and None not in slots:
        first, second = (item for item in slots if item)
        swapped = [_redrawn(groups[0], second.box), _redrawn(groups[1], first.box)]
        if _sound(swapped, [None, None], relation):
            return tuple(swapped)
    return None


def _anywhere(rng: np.random.Generator, group: Group) -> SceneObject:
    size = int(rng.integers(20, 27))
    height, width = sprite(group.name, group.color, size).shape[:2]
    x, y = int(rng.integers(SIDE - width + 1)), int(rng.integers(SIDE - height + 1))
    return SceneObject(group.name, group.color, x, y, size)


def _sound(
    items: Sequence[SceneObject], slots: Sequence[SceneObject | None], relation: str | None
) -> bool:
    """True if new objects keep clear of all others, and the relation holds."""
    boxes = [item.box for item in items]
    clear = all(
        are_separate(boxes[a], boxes[b])
        for a in range(len(boxes))
        for b in range(a)
        if slots[a] is None or slots[b] is None
    )
    return clear and (relation is None or component(boxes[0], boxes[1], relation) > MARGIN)
