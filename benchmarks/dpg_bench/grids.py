"""Grids: the one file an item has, of one image or of two by two.

Their order is that of the official program: top left, top right, bottom left, bottom right.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.errors import HarnessError
from harness.records import Image

GRID = 4
"""Images of a grid."""


def split(grid: Image, images: int, resolution: int | None = None) -> list[Image]:
    """Cut a file's image into the images that it is made of.

    Args:
        grid: The whole.
        images: How many there are: 1 or 4.
        resolution: Sides of each, as the official program is told them: what a smaller file lacks
            is black, and what a larger one has beyond is lost. None: the file must be a square (of
            even sides, for a grid), or for a single image anything.

    Raises:
        HarnessError: The sides are not such.
    """
    height, width = grid.shape[:2]
    if resolution is None:
        if images == 1:
            return [grid]
        if height != width or height % 2:
            raise HarnessError(
                f"an image of {width}x{height} is no grid of two by two equal squares",
                "give -B resolution, the side of one image, or -B images_per_file=1",
            )
        resolution = height // 2
    sides = resolution if images == 1 else 2 * resolution
    padded: Image = np.zeros((sides, sides, 3), np.uint8)
    known = grid[:sides, :sides]
    padded[: known.shape[0], : known.shape[1]] = known
    corners = [(0, 0), (0, resolution), (resolution, 0), (resolution, resolution)]
    return [
        np.ascontiguousarray(padded[y : y + resolution, x : x + resolution])
        for y, x in corners[:images]
    ]


def join(images: Sequence[Image]) -> Image:
    """Make the file's image of an item's images.

    Raises:
        HarnessError: There are not 1 or 4 of them, or they are no squares of one size.
    """
    if len(images) not in (1, GRID):
        raise HarnessError(f"{len(images)} images of an item, expected 1 or {GRID}")
    shapes = {image.shape for image in images}
    if len(shapes) > 1 or images[0].shape[0] != images[0].shape[1]:
        raise HarnessError("a grid is made of squares of one size", "generate images of one size")
    if len(images) == 1:
        return images[0]
    rows = [np.concatenate(images[start : start + 2], axis=1) for start in (0, 2)]
    return np.ascontiguousarray(np.concatenate(rows, axis=0))
