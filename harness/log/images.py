"""Images by the digest of their pixels, kept for as long as somebody needs them."""

from __future__ import annotations

import io
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
from PIL import Image as Pillow

from harness.errors import HarnessError
from harness.log.files import make_folder, read_file, write_atomically
from harness.log.location import Location
from harness.log.shards import repair_hint
from harness.log.store import LogWriter
from harness.records import Image
from harness.seeds import pixel_digest

MAX_PIXELS = 64 * 2**20
"""The largest image that is unpacked (8192 × 8192)."""

MAX_BYTES = 512 * 2**20
"""The largest file of an image that is read."""

MAX_BESIDE = 16 * 2**20
"""Bytes of an image's file that are no pixels: texts, profiles, another program's notes."""

MAX_PIECES = 2**16
"""The most chunks of a PNG or segments of a JPEG. Each is read by itself, by slow code."""

_NAME = re.compile(r"(?P<start>[0-9a-f]{2})/(?P<digest>(?P=start)[0-9a-f]{30})\.png")


def encode(image: Image) -> bytes:
    """An image as PNG. Lossless, so pixel digests survive; compressed for speed, not size."""
    buffer = io.BytesIO()
    Pillow.fromarray(image).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def decode(png: bytes) -> Image:
    """Return the RGB pixels of an encoded image.

    No decoder but PNG's is ever tried, whatever the bytes say they are, and nothing is unpacked
    before its size is known.

    Raises:
        ValueError: More than `MAX_PIXELS`, or more of something else than `check_pieces` allows.
        Exception: One of Pillow's, over bytes that are no PNG image or a damaged one.
    """
    check_pieces(chunks(png))
    # Pillow warns of large images from its own limit on, ours is below it, and of oddities.
    quiet = warnings.catch_warnings(action="ignore")
    with quiet, Pillow.open(io.BytesIO(png), formats=["PNG"]) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise ValueError(f"{width} × {height} pixels, more than {MAX_PIXELS}")
        return np.asarray(image.convert("RGB"))


def chunks(png: bytes) -> Iterator[int]:
    """Yield the bytes that are no pixels of each chunk of a PNG file."""
    position = 8
    while position + 8 <= len(png):
        length = int.from_bytes(png[position : position + 4], "big")
        is_pixels = png[position + 4 : position + 8] in (b"IDAT", b"fdAT")
        yield 0 if is_pixels else min(length, len(png) - position)
        position += 12 + length


def check_pieces(pieces: Iterable[int]) -> None:
    """Refuse an image's file whose pieces have so many bytes that are no pixels, or are so many.

    Raises:
        ValueError: There are more pieces than `MAX_PIECES`, or more bytes than `MAX_BESIDE`.
    """
    beside = 0
    for number, size in enumerate(pieces, start=1):
        beside += size
        if number > MAX_PIECES:
            raise ValueError(f"it has more than {MAX_PIECES} chunks or segments")
        if beside > MAX_BESIDE:
            raise ValueError(f"it has more than {MAX_BESIDE} bytes beside its pixels")


def verify(png: bytes, digest: str) -> str:
    """Return what is wrong with an encoded image of this pixel digest; "" if nothing is."""
    try:
        actual = pixel_digest(decode(png))
    except Exception as error:  # Pillow raises many kinds on bytes that are no picture
        return f"it is no picture ({type(error).__name__})"
    return "" if actual == digest else f"its pixels are others; their digest is {actual}"


def fault(path: Location, digest: str) -> str:
    """Return what is wrong with an image's file, which is no link; "" if nothing is."""
    try:
        return verify(read_file(path, MAX_BYTES), digest)
    except OSError as error:
        return f"it cannot be read: {error.strerror or error}"


def image_path(folder: Location, digest: str) -> Location:
    """Return the path of an image of this pixel digest in an `images` folder."""
    return folder / digest[:2] / f"{digest}.png"


def read(folder: Location, digest: str, *, check: bool = False) -> bytes:
    """Return an encoded image of an `images` folder.

    To check it is to hold its pixels to the digest, which takes as long as decoding it.

    Raises:
        HarnessError: It is not there, or not what its name says.
    """
    path = image_path(folder, digest)
    try:
        png = read_file(path, MAX_BYTES)
    except OSError as error:
        raise HarnessError(
            f"{path} cannot be read: {error.strerror or error}", repair_hint(folder)
        ) from error
    if check and (what := verify(png, digest)):
        raise HarnessError(f"{path} is damaged: {what}", repair_hint(folder))
    return png


class ImageStore:
    """The `images` folder of a run. Has state: who still holds which image.

    An image is held by the search that made it until that search ends, and for good if the run
    keeps it; when nobody holds it any more its file goes.

    Args:
        folder: The folder; made if need be.
        log: The run's log. If it is given, files go only once it has written what it was told
            before: a search whose end a crash can still take back will need its images again.
    """

    def __init__(self, folder: Location, log: LogWriter | None = None) -> None:
        self._folder = folder
        self._holds: Counter[str] = Counter()
        self._released: set[str] = set()
        self._at_once = log is None
        make_folder(folder)
        if log is not None:
            log.after_flush(self._sweep)

    def path(self, digest: str) -> Location:
        """Return the path of an image, stored or not."""
        return image_path(self._folder, digest)

    def write(self, digest: str, png: bytes) -> None:
        """Store an encoded image under its pixel digest.

        Raises:
            HarnessError: It cannot be written.
        """
        path = self.path(digest)
        self._released.discard(digest)
        # A power cut may have left the name without the bytes.
        if not path.exists() or path.read_bytes() != png:
            make_folder(path.parent)
            # Not flushed to the disk: an image lost in a power cut can be made again.
            # Its temporary file is not among the images, so that what a crash leaves is found
            # without a look into every folder of them.
            write_atomically(path, png, durable=False, room=self._folder)

    def note(self, digest: str) -> bool:
        """Take notice that an image was stored by somebody else; return whether it is there.

        One that was released before, and has been made again, is not to go.
        """
        self._released.discard(digest)
        return self.path(digest).exists()

    def read(self, digest: str, *, check: bool = False) -> bytes:
        """Return an encoded image, as the function of this name does."""
        return read(self._folder, digest, check=check)

    def hold(self, digest: str) -> None:
        """Say that an image is needed."""
        self._holds[digest] += 1

    def release(self, digest: str) -> None:
        """Say that an image is no longer needed by one of its holders."""
        self._holds[digest] -= 1
        if self._holds[digest] <= 0:
            del self._holds[digest]
            self._released.add(digest)
            if self._at_once:
                self._sweep()

    def _sweep(self) -> None:
        for digest in self._released - self._holds.keys():
            self.path(digest).unlink(missing_ok=True)
        self._released.clear()

    def prune(self) -> None:
        """Remove every image that nobody holds, such as a crash may have left."""
        for path in self._folder.glob("*/*"):
            # Nothing else is this store's to remove.
            name = _NAME.fullmatch(f"{path.parent.name}/{path.name}")
            if name is not None and name["digest"] not in self._holds:
                path.unlink(missing_ok=True)
