"""Prompts of GenEval's six kinds over the whole vocabulary, and scenes that show what they ask for.

The grammar and the metadata are GenEval's (arXiv 2310.11513; djghosh13/geneval, prompt generation).
Benchmark rows can be read as requests too, but training draws its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.geneval.classes import CLASSES, RELATIONS, TAGS
from benchmarks.geneval.prompts import COLORED_CLASSES, Group, Request
from harness.miniature.glyphs import COLOURS, sprite
from harness.miniature.scenes import SIDE, Box, Scene, SceneObject, draw_background

OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
_DIRECTIONS = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}
MARGIN = 0.65
"""How clear a scene's relation is. GenEval asks for 0.5; a detector's boxes are a bit off."""
_SMALLEST, _LARGEST = 21, 27


def from_metadata(metadata: Mapping[str, Any]) -> Request:
    """Read a row of GenEval's metadata.

    Raises:
        ValueError: The row's kind is not one of GenEval's six.
    """
    tag = metadata["tag"]
    if tag not in TAGS:
        raise ValueError(f"tag {tag!r} is not one of {', '.join(TAGS)}")
    rows: Sequence[Mapping[str, Any]] = metadata["include"]
    groups = [Group(row["class"], row["count"], row.get("color")) for row in rows]
    if tag != "position":
        return Request(tag, tuple(groups))
    return Request(tag, tuple(reversed(groups)), rows[1]["position"][0])


def draw_request(rng: np.random.Generator, tag: str | None = None) -> Request:
    """Draw a prompt; of a random kind unless ``tag`` is given."""
    if tag is None:
        tag = str(rng.choice(TAGS, p=(0.16, 0.18, 0.2, 0.14, 0.16, 0.16)))
    if tag == "single_object":
        return Request(tag, (Group(str(rng.choice(CLASSES))),))
    if tag == "counting":
        return Request(tag, (Group(str(rng.choice(CLASSES)), int(rng.integers(2, 5))),))
    if tag == "colors":
        name, colour = rng.choice(COLORED_CLASSES), rng.choice(list(COLOURS))
        return Request(tag, (Group(str(name), 1, str(colour)),))
    if tag == "color_attr":
        names = rng.choice(COLORED_CLASSES, 2, replace=False)
        colours = rng.choice(list(COLOURS), 2, replace=False)
        pairs = zip(names, colours, strict=True)
        return Request(tag, tuple(Group(str(name), 1, str(colour)) for name, colour in pairs))
    if tag not in TAGS:
        raise ValueError(f"tag {tag!r} is not one of {', '.join(TAGS)}")
    names = rng.choice(CLASSES, 2, replace=False)
    relation = str(rng.choice(RELATIONS)) if tag == "position" else None
    return Request(tag, (Group(str(names[0])), Group(str(names[1]))), relation)


def component(a: Box, b: Box, relation: str) -> float:
    """Return how clearly box ``a`` stands in a relation to ``b``; GenEval's rule passes above 0.5.

    The centre offset, each axis shrunk by a tenth of the summed sizes, over the unshrunk offset's
    norm, along the relation's direction (djghosh13/geneval, ``relative_position``).
    """
    offset = np.array([a[0] + a[2] - b[0] - b[2], a[1] + a[3] - b[1] - b[3]]) / 2
    sizes = np.array([a[2] - a[0] + b[2] - b[0], a[3] - a[1] + b[3] - b[1]])
    norm = float(np.linalg.norm(offset))
    if norm == 0:
        return 0.0
    shrunk = np.sign(offset) * np.maximum(np.abs(offset) - 0.1 * sizes, 0)
    return float(shrunk @ np.array(_DIRECTIONS[relation])) / norm


def place(
    rng: np.random.Generator,
    objects: Sequence[tuple[str, str | None]],
    relation: str | None = None,
) -> tuple[SceneObject, ...]:
    """Give objects (class and colour) sizes and places: apart, wholly inside, related if asked.

    A relation is the first object's to the second.
    """
    crowded = len(objects) > 3
    for attempt in range(10_000):
        # Ever smaller, so that the search ends: four large objects need not fit.
        largest = max(_SMALLEST, _LARGEST - (3 if crowded else 0) - attempt // 200)
        smallest = max(12, _SMALLEST - max(0, attempt - 1200) // 200)
        placed: list[SceneObject] = []
        for name, colour in objects:
            size = int(rng.integers(smallest, largest + 1))
            height, width = sprite(name, colour, size).shape[:2]
            for _ in range(12):
                x = int(rng.integers(0, SIDE - width + 1))
                y = int(rng.integers(0, SIDE - height + 1))
                item = SceneObject(name, colour, x, y, size)
                if all(are_separate(item.box, other.box) for other in placed):
                    break
            else:
                break
            placed.append(item)
        if len(placed) < len(objects):
            continue
        if relation is None or component(placed[0].box, placed[1].box, relation) > MARGIN:
            return tuple(placed)
    raise RuntimeError(f"no room found for {len(objects)} objects: {objects}")


def draw_scene(rng: np.random.Generator, request: Request) -> Scene:
    """A random scene that shows exactly what the request asks for."""
    objects = [(group.name, group.color) for group in request.groups for _ in range(group.count)]
    top, bottom = draw_background(rng)
    return Scene(place(rng, objects, request.relation), top, bottom)


def are_separate(a: Box, b: Box, gap: int = 2) -> bool:
    """True if two boxes leave ``gap`` pixels between them."""
    return a[2] + gap <= b[0] or b[2] + gap <= a[0] or a[3] + gap <= b[1] or b[3] + gap <= a[1]
