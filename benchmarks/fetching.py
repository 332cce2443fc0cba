"""Published data that are no part of this project: by path or fetched once, and checked."""

from __future__ import annotations

import hashlib
import os
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError, UsageError, first_line
from harness.text import expanded, read_text

MAX_BYTES = 64 * 2**20
"""Of a published file."""

SECONDS = 60
"""How long a server may be silent."""


@dataclass(frozen=True, slots=True)
class Published:
    """A file that somebody has published.

    Attributes:
        name: Its name.
        url: Where it is fetched from, at a fixed commit.
        sha256: Of its content, or "".
        blob: Of its content, as git names it (SHA-1 after a header), where no SHA-256 is known.
    """

    name: str
    url: str
    sha256: str = ""
    blob: str = ""

    def matches(self, data: bytes) -> bool:
        """Return whether data are the file's content."""
        if self.sha256:
            return hashlib.sha256(data).hexdigest() == self.sha256
        header = b"blob %d\0" % len(data)
        return hashlib.sha1(header + data, usedforsecurity=False).hexdigest() == self.blob


def read_published(file: Published, path: str, *, fetch: bool) -> str:
    """Return the text of a published file at a path, or where `fetch` puts it.

    Raises:
        UsageError: It is nowhere, or what is there is not it.
        HarnessError: It cannot be fetched.
    """
    place = expanded(path) if path else cache() / file.name
    if not place.exists():
        if not fetch:
            looked = f"there is no file {place}" if path else f"{file.name} is not on this machine"
            raise UsageError(
                looked, f"give -B path=FILE, or -B fetch=true to get it from {file.url}"
            )
        _fetch(file, place)
    text = read_text(place, limit=MAX_BYTES)
    if not file.matches(place.read_bytes()):
        raise UsageError(
            f"{place} is not the published {file.name}: its digest is another",
            "get it anew from the official repository; prompts of your own go with --benchmark "
            "prompt-file",
        )
    return text


def cache() -> Path:
    """Return the folder that fetched files are kept in."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return expanded(base) / "inference-scaling-harness"


def _fetch(file: Published, place: Path) -> None:
    try:
        with urllib.request.urlopen(file.url, timeout=SECONDS) as response:
            data = response.read(MAX_BYTES + 1)
    except (OSError, urllib.error.URLError, ValueError) as error:
        raise HarnessError(
            f"{file.name} cannot be fetched from {file.url}: {first_line(error)}",
            "get it by other means and give -B path=FILE",
        ) from error
    if not file.matches(data):
        raise HarnessError(
            f"what {file.url} gives is not the published {file.name}: its digest is another",
            "get it by other means and give -B path=FILE",
        )
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=place.parent, delete=False) as scratch:
            scratch.write(data)
        Path(scratch.name).replace(place)
    except OSError as error:
        raise HarnessError(f"{place} cannot be written: {first_line(error)}") from error
