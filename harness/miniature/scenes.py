"""The miniature's world: 64x64 scenes of a few objects, and the exact truth about each.

A scene is plain data, so it can be changed in one place (another colour, one object fewer) and
drawn again with everything else as it was.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.miniature.glyphs import sprite

SIDE = 64
"""Width and height of a scene in pixels."""

RGB = tuple[int, int, int]
Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels, ends exclusive."""


@dataclass(frozen=True)
class SceneObject:
    """One object in its place; x and y are its left and top edge, size its longer side, in pixels.

    ``colour`` is one of GenEval's ten, or None for the natural one.
    """

    name: str
    colour: str | None
    x: int
    y: int
    size: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Where it lies, as `Box`."""
        height, width = sprite(self.name, self.colour, self.size).shape[:2]
        return self.x, self.y, self.x + width, self.y + height


@dataclass(frozen=True)
class Scene:
    """Objects, drawn in this order, in front of a vertical gradient of colours."""

    objects: tuple[SceneObject, ...]
    top: RGB
    bottom: RGB


@dataclass(frozen=True)
class Rendered:
    """A drawn scene and its truth, in the order of the scene's objects.

    Attributes:
        image: RGB, uint8, shape (64, 64, 3).
        boxes: float32, shape (n, 4): x0, y0, x1, y1 in pixels, ends exclusive.
        masks: bool, shape (n, 64, 64): the pixels where the object covers more than half.
    """

    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    masks: NDArray[np.bool_]


def draw_background(rng: np.random.Generator) -> tuple[RGB, RGB]:
    """Two soft colours, near each other, for the top and the bottom edge."""
    top = rng.integers(182, 242, 3)
    bottom = np.clip(top + rng.integers(-28, 14, 3), 160, 246)
    return (int(top[0]), int(top[1]), int(top[2])), (int(bottom[0]), int(bottom[1]), int(bottom[2]))


def render(scene: Scene) -> Rendered:
    """Draw a scene.

    Raises:
        ValueError: An object does not lie wholly inside of the scene.
        FontMissingError: The emoji font is not installed.
    """
    blend = np.linspace(0, 1, SIDE, dtype=np.float32)[:, None, None]
    top, bottom = np.array(scene.top, np.float32), np.array(scene.bottom, np.float32)
    canvas = np.repeat(top * (1 - blend) + bottom * blend, SIDE, axis=1)
    boxes = np.zeros((len(scene.objects), 4), np.float32)
    masks = np.zeros((len(scene.objects), SIDE, SIDE), bool)
    for index, item in enumerate(scene.objects):
        pixels = sprite(item.name, item.colour, item.size)
        x0, y0, x1, y1 = item.box
        if min(x0, y0) < 0 or max(x1, y1) > SIDE:
            raise ValueError(f"{item} ends at ({x1}, {y1}), outside of the {SIDE}x{SIDE} scene")
        alpha = pixels[..., 3:].astype(np.float32) / 255
        patch = canvas[y0:y1, x0:x1]
        canvas[y0:y1, x0:x1] = patch * (1 - alpha) + pixels[..., :3] * alpha
        boxes[index] = x0, y0, x1, y1
        masks[:index, y0:y1, x0:x1] &= alpha[..., 0] <= 0.5
        masks[index, y0:y1, x0:x1] = alpha[..., 0] > 0.5
    return Rendered(np.rint(canvas).astype(np.uint8), boxes, masks)
