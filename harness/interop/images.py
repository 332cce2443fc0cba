"""Reading image files that others wrote: pixels the scorer can trust, or a reason why not.

What is done with each kind of file, and why:

- EXIF rotation is applied, as the official evaluator does before it looks at colours.
- Greyscale, palette, CMYK and black-and-white images become RGB.
- 16 bits a channel become 8 by their high byte, which is what libpng and Pillow do.
- An alpha channel that is opaque everywhere is dropped. Real transparency is refused: such an
  image has no definite pixels, and whoever ignores the channel sees colours that were hidden.
  Only a benchmark whose official program is known to drop it has it dropped.
- Any size from 1×1 is an image, up to `MAX_PIXELS`; larger ones are refused before they are
  unpacked, so that a small file cannot fill the memory.
- Damaged, truncated and empty files, formats other than PNG and JPEG (by content, whatever the
  name says) and files that are no files are refused; so are links that lead out of a folder whose
  images are to be copied.

A refusal concerns its file alone: it says which, and why.
"""

from __future__ import annotations

import hashlib
import io
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import ImageOps, UnidentifiedImageError

from harness.errors import HarnessError, first_line
from harness.log import images as encoded
from harness.log.images import MAX_PIXELS
from harness.records import Image
from harness.seeds import pixel_digest

MAX_BYTES = 512 * 2**20
"""The largest file that is read."""

FORMATS = ("PNG", "JPEG")

MAX_SCANS = 64
"""The most scans of a JPEG: each goes over all of its pixels. Encoders make about ten."""

_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd8])")
"""What begins a segment, and does not stand among compressed pixels."""
_SCAN = 0xDA

_ORIENTATION = 0x0112
_LYING = (5, 6, 7, 8)
"""EXIF orientations that exchange height and width. Anything else may stand there, text too."""
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)
"""All that Pillow's readers raise over bytes that are not what they should be."""


class BadImage(HarnessError):
    """An image file that is refused, and why. The others go on."""


@dataclass(frozen=True)
class Picture:
    """One image file, read.

    Attributes:
        encoded: PNG that decodes to exactly these pixels: the file's own bytes where nothing had
            to be done to them and they are PNG.
        source: SHA-256 of the file's bytes, in hex.
    """

    encoded: bytes
    digest: str
    height: int
    width: int
    source: str


def read(path: Path, root: Path | None = None, *, drop_alpha: bool = False) -> Picture:
    """Read an image file.

    Args:
        path: The file.
        root: The folder that a link must not lead out of; None allows any regular file.
        drop_alpha: Drop real transparency instead of refusing it.

    Raises:
        BadImage: It is refused; the message names it and says why.
    """
    try:
        data = _bytes(path, root)
        pixels, plain = decode(data, drop_alpha=drop_alpha)
    except BadImage as error:
        raise BadImage(f"{path}: {error.message}", error.hint) from error
    except _DAMAGED as error:
        raise BadImage(f"{path}: damaged ({first_line(error)})", "make the image again") from error
    return Picture(
        encoded=data if plain else encoded.encode(pixels),
        digest=pixel_digest(pixels),
        height=pixels.shape[0],
        width=pixels.shape[1],
        source=hashlib.sha256(data).hexdigest(),
    )


def size_of(path: Path) -> tuple[int, int] | None:
    """Return an image file's height and width, as its header tells; None if it tells none."""
    try:
        with warnings.catch_warnings(action="ignore"), _open(_bytes(path, None)) as image:
            width, height = image.size
            turned = image.getexif().get(_ORIENTATION, 1) in _LYING
    except (BadImage, *_DAMAGED):
        return None
    return (width, height) if turned else (height, width)


def decode(data: bytes, *, drop_alpha: bool = False) -> tuple[Image, bool]:
    """The RGB pixels of a PNG or JPEG file's bytes.

    Returns:
        The pixels, and whether the bytes are those of a plain RGB image, which anybody who
        ignores rotation and alpha decodes to the same.

    Raises:
        BadImage: The image is refused.
        Exception: One of Pillow's, over damaged bytes.
    """
    with warnings.catch_warnings(action="ignore"), _open(data) as image:
        image.load()
        orientation = image.getexif().get(_ORIENTATION, 1)
        plain = (
            image.format == "PNG"
            and image.mode == "RGB"
            and "transparency" not in image.info
            and orientation == 1
        )
        upright = ImageOps.exif_transpose(image)
        return np.asarray(_as_rgb(upright, drop_alpha)), plain


def _open(data: bytes) -> Pillow.Image:
    """Open an image whose pixels and metadata are not too many to be read.

    Pillow warns of sizes from half its own limit on and of what is odd in metadata: nobody is to
    hear of it.

    Raises:
        BadImage: It is none, or they are.
    """
    if not data:
        raise BadImage("an empty file")
    pieces = {b"\x89P": encoded.chunks, b"\xff\xd8": _segments}.get(data[:2])
    try:
        encoded.check_pieces(pieces(data) if pieces else ())
    except ValueError as error:
        raise BadImage(str(error), "save it again without what is no image in it") from None
    try:
        image = Pillow.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise BadImage("neither PNG nor JPEG by its content, or damaged") from None
    except Pillow.DecompressionBombError:
        raise BadImage(f"larger than {MAX_PIXELS} pixels") from None
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise BadImage(f"{width} × {height} pixels, more than {MAX_PIXELS}")
    return image


def _segments(jpeg: bytes) -> Iterator[int]:
    """Yield the bytes of each segment of a JPEG file.

    Raises:
        ValueError: There are more scans than `MAX_SCANS`.
    """
    position, scans = 2, 0
    while (marker := _MARKER.search(jpeg, position)) and marker[1] != b"\xd9":
        length = int.from_bytes(jpeg[marker.end() : marker.end() + 2], "big")
        scans += marker[1][0] == _SCAN
        if scans > MAX_SCANS:
            raise ValueError(f"it has more than {MAX_SCANS} scans")
        yield length
        position = marker.end() + length


def _as_rgb(image: Pillow.Image, drop_alpha: bool) -> Pillow.Image:
    if image.has_transparency_data:
        with_alpha = image.convert("RGBA")
        if not drop_alpha and with_alpha.getchannel("A").getextrema() != (255, 255):
            raise BadImage(
                "partly transparent, so its colours depend on what lies behind",
                "save it without an alpha channel, over the background it was meant for",
            )
        return with_alpha.convert("RGB")
    if image.mode.startswith("I;16") or image.mode == "I":
        # Pillow's own conversion cuts values off at 255 instead of scaling them.
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise BadImage("more than 16 bits a pixel")
        return Pillow.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise BadImage("floating-point pixels")
    return image.convert("RGB")


def _bytes(path: Path, root: Path | None) -> bytes:
    try:
        resolved = path.resolve(strict=True)
    except RuntimeError as error:  # a loop of links, until Python 3.12
        raise BadImage(first_line(error)) from error
    if root is not None and not resolved.is_relative_to(root.resolve()):
        raise BadImage(f"a link that leads out of {root}", "copy the file instead of linking it")
    if not resolved.is_file():
        raise BadImage("not a regular file")
    size = resolved.stat().st_size
    if size > MAX_BYTES:
        raise BadImage(f"{size} bytes, more than {MAX_BYTES}")
    return resolved.read_bytes()
