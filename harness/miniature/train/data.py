"""Pools of rendered scenes held in memory, and the crops that stages cut from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.geneval.classes import CLASSES
from benchmarks.geneval.prompts import Request
from harness.miniature.glyphs import COLOURS
from harness.miniature.habits import shown
from harness.miniature.prompts import draw_request, draw_scene, place
from harness.miniature.scenes import SIDE, Scene, draw_background, render

MOST_OBJECTS = 5
"""The most objects of a scene in a pool."""

_COLOUR_NAMES = list(COLOURS)
_CLASS_INDEX = {name: index for index, name in enumerate(CLASSES)}
NATURAL = len(_COLOUR_NAMES)
"""Colour index of an object in its natural colours."""


@dataclass(frozen=True)
class Pool:
    """Scenes and their truth; the first axis is the scene.

    Attributes:
        images: uint8, (n, 3, 64, 64).
        foreground: uint8, (n, 64, 64): the number of the object that a pixel shows, from 1; 0 is
            background.
        boxes: float32, (n, 5, 4), pixels; zeros beyond a scene's objects.
        classes: int64, (n, 5); -1 beyond a scene's objects.
        colours: int64, (n, 5), ``NATURAL`` for natural ones; -1 beyond a scene's objects.
        requests: What each scene was drawn for; None for a free scene.
    """

    images: Tensor
    foreground: Tensor
    boxes: Tensor
    classes: Tensor
    colours: Tensor
    requests: tuple[Request | None, ...]

    def __len__(self) -> int:
        """The number of scenes."""
        return len(self.requests)


def free_scene(rng: np.random.Generator) -> Scene:
    """A scene that no prompt asked for: up to five objects of any class and colour, or none."""
    count = int(rng.choice(6, p=(0.04, 0.16, 0.22, 0.24, 0.22, 0.12)))
    objects: list[tuple[str, str | None]] = []
    for _ in range(count):
        # Repeats are common, so that counting is learnt with other things in sight.
        if objects and rng.random() < 0.35:
            objects.append(objects[int(rng.integers(len(objects)))])
            continue
        colour = str(rng.choice(_COLOUR_NAMES)) if rng.random() < 0.45 else None
        objects.append((str(rng.choice(CLASSES)), colour))
    top, bottom = draw_background(rng)
    return Scene(place(rng, objects), top, bottom)


def make_pool(size: int, seed: int, *, free: float = 0.0, habits: bool = False) -> Pool:
    """Render scenes; scene ``i`` depends on the seed and ``i`` alone.

    Args:
        size: How many.
        seed: Seed of the pool; held-out pools take another.
        free: Share of scenes that are ``free_scene`` rather than drawn for a prompt.
        habits: Scenes show what `harness.miniature.habits` make of their prompts. The requests
            stay what the captions say.
    """
    images: NDArray[np.uint8] = np.empty((size, SIDE, SIDE, 3), np.uint8)
    foreground = np.zeros((size, SIDE, SIDE), np.uint8)
    boxes = np.zeros((size, MOST_OBJECTS, 4), np.float32)
    classes = np.full((size, MOST_OBJECTS), -1, np.int64)
    colours = np.full((size, MOST_OBJECTS), -1, np.int64)
    requests: list[Request | None] = []
    for index in range(size):
        rng = np.random.default_rng([seed, index])
        request = None if rng.random() < free else draw_request(rng)
        if request is None:
            scene = free_scene(rng)
        else:
            scene = draw_scene(rng, shown(rng, request) if habits else request)
        drawn = render(scene)
        images[index] = drawn.image
        for number, item in enumerate(scene.objects):
            foreground[index][drawn.masks[number]] = number + 1
            boxes[index, number] = drawn.boxes[number]
            classes[index, number] = _CLASS_INDEX[item.name]
            colours[index, number] = _COLOUR_NAMES.index(item.colour) if item.colour else NATURAL
        requests.append(request)
    return Pool(
        torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(),
        torch.from_numpy(foreground),
        torch.from_numpy(boxes),
        torch.from_numpy(classes),
        torch.from_numpy(colours),
        tuple(requests),
    )


def in_parts(make: Callable[[Tensor], Tensor], rows: Tensor, size: int) -> Tensor:
    """Return what a function makes of a tensor's rows, ``size`` at a time and without gradients."""
    with torch.no_grad():
        return torch.cat([make(part) for part in torch.split(rows, size)])


def to_signed(images: Tensor) -> Tensor:
    """Take uint8 images to float32 in -1 to 1, the range that diffusers' autoencoders work in."""
    return images.float() / 127.5 - 1


def to_bytes(images: Tensor) -> Tensor:
    """Take float images in -1 to 1 to uint8, clipped and rounded."""
    return ((images.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
