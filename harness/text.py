"""Text and JSON from outside: one reader for whatever programs, spreadsheets and editors write.

A byte order mark says how a file is encoded and is no part of its text; without one a file is
UTF-8. JSON is read strictly: what a lenient reader would take in silence (a key that is there
twice, of which only the last would count; NaN, which no digest could be made of) is refused by
name.
"""

from __future__ import annotations

import codecs
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.errors import UsageError

MAX_BYTES = 512 * 2**20
"""The largest text file that is read."""

MAX_DEPTH = 100
"""How deep JSON may be nested: whatever is read can be written again."""

_MARKS = {
    # UTF-32's mark begins with UTF-16's, so it is looked for first.
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_BOM = "\ufeff"


def expanded(path: str | Path) -> Path:
    """Return a path with its leading `~` replaced, or as it is where nobody has that home."""
    return Path(os.path.expanduser(path))  # `Path.expanduser` would raise there


def read_text(path: Path, *, limit: int = MAX_BYTES) -> str:
    """Read a text file that somebody else wrote: no byte order mark, lines that end in newlines.

    Links are followed. Callers that confine a file to a folder resolve it first.

    Raises:
        UsageError: The file is missing, no regular file, larger than the limit, unreadable, or not
            text in the encoding that its mark says (UTF-8 without one). The message names the
            file, for undecodable bytes the line too.
    """
    try:
        # A pipe or a device would block, or never end.
        if path.exists() and not path.is_file():
            raise UsageError(f"{path} cannot be read: not a regular file", "give a text file")
        with path.open("rb") as stream:
            data = stream.read(limit + 1)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror or error}",
            "check that it is a file and that you may read it",
        ) from None
    if len(data) > limit:
        raise UsageError(f"{path} is larger than {limit} bytes", "give a smaller file")
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode(encoding, errors="ignore")
        name = "UTF-8" if encoding.startswith("utf-8") else encoding.upper()
        raise UsageError(
            f"{path}, line {before.count(chr(10)) + 1}: not {name} text",
            "save the file with UTF-8 encoding",
        ) from None


def json_lines(text: str) -> Iterator[tuple[int, str]]:
    """Split JSON lines; yields line numbers from 1 and texts, blank lines left out.

    Lines end at newlines only: `str.splitlines` would also break at U+2028 inside a string. A
    byte order mark before a line is dropped: files that were joined have one in the middle.
    """
    for number, line in enumerate(text.split("\n"), start=1):
        content = line.lstrip(_BOM)
        if content.strip():
            yield number, content


def is_encodable(text: str) -> bool:
    """Return whether a text can be written as UTF-8: whether it has no lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def parse_json(text: str, *, nan_is_null: bool = False) -> Any:
    """Parse one JSON value strictly; NaN and infinities, which JSON has not, may be read as null.

    Raises:
        ValueError: The text is not one JSON value, is nested too deeply, has a key twice in one
            object or (unless read as null) a number that is not finite. The message names the key
            where there is one.
    """

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, value in items:
            if key in result:
                raise ValueError(f"the key {json.dumps(key)} is there twice")
            result[key] = plain(value, f"{json.dumps(key)} is ")
        return result

    def plain(value: Any, where: str = "") -> Any:
        if isinstance(value, _NotFinite):
            if nan_is_null:
                return None
            raise ValueError(f"{where}{value.text}, which is not a JSON value")
        if isinstance(value, list):
            return [plain(item, where) for item in value]
        return value

    try:
        value = json.loads(
            text, object_pairs_hook=pairs, parse_constant=_NotFinite, parse_float=_number
        )
        value = plain(value)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise ValueError("nested too deeply")
    return value


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level := [
        item
        for holder in level
        if isinstance(holder, list | dict)
        for item in (holder.values() if isinstance(holder, dict) else holder)
    ]:
        depth += 1
    return depth


class _NotFinite:
    """A stand-in for a number that JSON has not, until its key is known."""

    def __init__(self, text: str) -> None:
        self.text = text


def _number(text: str) -> float | _NotFinite:
    number = float(text)
    return number if math.isfinite(number) else _NotFinite(text)
