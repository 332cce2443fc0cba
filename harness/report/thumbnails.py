"""Logged images as small data URIs, with the detector's boxes as shapes over them.

A results folder may be a stranger's. What its log calls an image is used as a name only if it
looks like a pixel digest and leads to a regular file inside the folder's own `images`.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image as Pillow

from harness.log.files import read_file
from harness.log.images import MAX_BYTES, decode, image_path
from harness.log.location import Location
from harness.seeds import pixel_digest

SIDE = 320
"""The longest side of an embedded image, in pixels: what still reads when it is enlarged."""
BOXES = 8
"""The most boxes drawn on one image, most confident first."""
LETTERS = 13
"""So many times a label's letters are high would be the picture's width."""

_DIGEST = re.compile(r"[0-9a-f]{16,64}")


@dataclass(frozen=True)
class Box:
    """A detection as drawn, in the image's pixels from its upper left corner.

    Attributes:
        label: Colour and class.
        score: The detector's confidence.
        label_at: Where the label begins on its base line; None where there is no room for it.
    """

    x: float
    y: float
    width: float
    height: float
    label: str
    score: float
    label_at: tuple[float, float] | None


@dataclass(frozen=True)
class Thumbnail:
    """An image to embed.

    Attributes:
        uri: A data URI; "" if the image is not there.
        width: Of the logged image, in pixels, which boxes refer to.
        height: Likewise.
        missing: Why there is none, or "".
        dropped: Whether there is none because the run was not to keep it.
    """

    uri: str
    width: int = 1
    height: int = 1
    missing: str = ""
    dropped: bool = False


def thumbnail(images: Location, digest: object) -> Thumbnail:
    """Return an image of a run's folder, by the digest that the log has, made small."""
    if not isinstance(digest, str) or not digest:
        return Thumbnail("", missing="no image: the draw failed")
    path = image_path(images, digest)
    if not _DIGEST.fullmatch(digest) or not path.is_file():
        return Thumbnail("", missing="image not kept", dropped=True)
    if (
        isinstance(path, Path)
        and isinstance(images, Path)
        and (not path.resolve().is_relative_to(images.resolve()))
    ):
        return Thumbnail("", missing="image lies outside the run's folder")
    try:
        pixels = decode(read_file(path, MAX_BYTES))
    except Exception:  # Pillow raises many kinds on bytes that are no picture
        return Thumbnail("", missing="image cannot be read")
    picture = Pillow.fromarray(pixels)
    width, height = picture.size
    if pixel_digest(pixels) != digest:
        return Thumbnail("", missing="image shows other pixels than the log names")
    picture.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, format="WEBP", quality=75)
    encoded = base64.b64encode(buffer.getvalue()).decode()
    return Thumbnail(f"data:image/webp;base64,{encoded}", width, height)


def boxes(detections: Sequence[Any] | None, width: int, height: int) -> list[Box]:
    """Return the most confident logged detections as boxes, labels where they hide no other.

    Width and height are the image's, in pixels.
    """
    confident = sorted(detections if detections is not None else [], key=lambda d: -d["score"])
    letter = width / LETTERS
    taken: list[tuple[float, ...]] = []
    result = []
    for detection in confident[:BOXES]:
        left, top, right, bottom = map(float, detection["box"])
        label = " ".join(filter(None, (detection["color"], detection["label"])))
        length = 0.58 * letter * len(label)
        place = None
        # Above the box, within it, below it.
        for base in (top - 0.3 * letter, top + letter, bottom - 0.3 * letter, bottom + letter):
            start = max(0.0, min(left, width - length))
            area = (start, base - letter, start + length, base)
            if letter <= base <= height and not any(_overlap(area, other) for other in taken):
                taken.append(area)
                place = (start, base)
                break
        size = max(0.0, right - left), max(0.0, bottom - top)
        result.append(Box(left, top, *size, label, float(detection["score"]), place))
    return result


def _overlap(one: Sequence[float], other: Sequence[float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
