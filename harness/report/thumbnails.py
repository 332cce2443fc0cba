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

_DIGEST = re.compile(r"[0-9a-f]{16,64}")


@dataclass(frozen=True)
class Box:
    """A detection as drawn: x, y, width, height in the image's pixels, label and confidence."""

    x: float
    y: float
    width: float
    height: float
    label: str
    score: float


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
    """Return a logged image, made small.

    Args:
        images: The run's folder of images.
        digest: What the log names it by.
    """
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


def boxes(detections: Sequence[Any] | None) -> list[Box]:
    """Return the most confident detections as boxes."""
    confident = sorted(detections if detections is not None else [], key=lambda d: -d["score"])
    return [
        Box(
            x=float(d["box"][0]),
            y=float(d["box"][1]),
            width=max(0.0, float(d["box"][2] - d["box"][0])),
            height=max(0.0, float(d["box"][3] - d["box"][1])),
            label=" ".join(filter(None, (d["color"], d["label"]))),
            score=float(d["score"]),
        )
        for d in confident[:BOXES]
    ]
