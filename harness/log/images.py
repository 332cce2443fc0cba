"""Images by the digest of their pixels, kept for as long as somebody needs them."""

from __future__ import annotations

import io
from collections import Counter

import numpy as np
from PIL import Image as Pillow

from harness.errors import HarnessError
from harness.log.files import make_folder, write_atomically
from harness.log.location import Location
from harness.log.store import LogWriter
from harness.records import Image


def encode(image: Image) -> bytes:
    """An image as PNG. Lossless, so pixel digests survive; compressed for speed, not size."""
    buffer = io.BytesIO()
    Pillow.fromarray(image).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def decode(png: bytes) -> Image:
    """The RGB pixels of an encoded image."""
    with Pillow.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"))


def image_path(folder: Location, digest: str) -> Location:
    """Where in an `images` folder an image of this pixel digest is or would be."""
    return folder / digest[:2] / f"{digest}.png"


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
        """Where an image is or would be."""
        return image_path(self._folder, digest)

    def write(self, digest: str, png: bytes) -> None:
        """Store an encoded image under its pixel digest.

        Raises:
            HarnessError: It cannot be written.
        """
        path = self.path(digest)
        self._released.discard(digest)
        if not path.exists():
            make_folder(path.parent)
            # Not flushed to the disk: an image lost in a power cut can be made again.
            # Its temporary file is not among the images, so that what a crash leaves is found
            # without a look into every folder of them.
            write_atomically(path, png, durable=False, room=self._folder)

    def read(self, digest: str) -> bytes:
        """The encoded image.

        Raises:
            HarnessError: It is not there.
        """
        try:
            return self.path(digest).read_bytes()
        except OSError as error:
            raise HarnessError(
                f"image {digest} cannot be read from {self._folder}: {error.strerror or error}",
                "the run needs it as feedback; restore it, or run again into a new folder",
            ) from error

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
            if path.stem not in self._holds:
                path.unlink(missing_ok=True)
