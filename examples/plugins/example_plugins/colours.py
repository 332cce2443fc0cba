"""The six colours, and which one an image's middle has."""

from __future__ import annotations

import numpy as np

from harness.records import Image

COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 180, 60),
    "blue": (50, 70, 220),
    "yellow": (230, 210, 50),
    "purple": (140, 50, 170),
    "white": (240, 240, 240),
}


def colour_in(text: str) -> str:
    """Return the first colour that a text names, or "" if it names none."""
    return next((word for word in text.lower().split() if word in COLOURS), "")


def colour_of(image: Image) -> tuple[str, float]:
    """Return the colour nearest to an image's middle, and its distance from 0 to 1."""
    height, width, _ = image.shape
    middle = image[height // 3 : -height // 3, width // 3 : -width // 3].mean(axis=(0, 1))
    distances = {name: float(np.abs(middle - rgb).mean()) for name, rgb in COLOURS.items()}
    name = min(distances, key=distances.__getitem__)
    return name, distances[name] / 255
