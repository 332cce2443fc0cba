"""Text on its way out of the program: no data may move a cursor, hide a line or forge one.

Prompts, tags, names and errors may come from anybody's folder. `printable` is for a value before it
becomes part of a line: nothing in it can begin a line of its own. `guard` is the last defence, for
whatever is written to a stream: what a terminal would obey is shown instead.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from typing import Any, TextIO, cast

import click

_LINES = {"\n", "\t", "\r"}
_COLOURS = re.compile(r"\x1b\[(?:0|1|2|3[1-7]|39|22|23|;)*m")
"""Escapes that our own tables write to a real terminal: weights and colours, which hide no text."""

_PROGRESS = re.compile(rf"{_COLOURS.pattern}|\x1b\[\d*[AGK]|\x1b\[\?25[hl]")
"""Escapes that a line of progress adds there, on stderr only, to take its own place again."""


def printable(value: object) -> str:
    """Return a value's text with everything escaped that is not to be seen as it is.

    That is line breaks, tabs, all other control characters, characters that reorder or are
    invisible, line and paragraph separators, and lone surrogates.
    """
    return "".join(_shown(character) for character in str(value))


def say(*values: object, prefix: str = "", err: bool = False) -> None:
    """Print each value as a line of its own, as `printable` shows it, behind a prefix."""
    for value in values:
        click.echo(f"{prefix}{printable(value)}", err=err)


def print_table(headings: Sequence[object], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under headings, none of them cut; what cells hold is shown as text."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in headings:
        table.add_column(Text(str(heading)), no_wrap=True)
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    # A narrow terminal breaks the lines itself; cells cut short would be worse.
    Console(highlight=False, width=200).print(table)


def _shown(character: str) -> str:
    if unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}:
        return character
    code = ord(character)
    if code < 0x100:
        return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(character, f"\\x{code:02x}")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _filtered(text: str, allowed: re.Pattern[str] | None) -> str:
    if text.isascii() and text.isprintable():
        return text
    pieces, end = [], 0
    for match in allowed.finditer(text) if allowed else ():
        pieces += [_plain(text[end : match.start()]), match[0]]
        end = match.end()
    return "".join([*pieces, _plain(text[end:])])


def _plain(text: str) -> str:
    return "".join(c if c in _LINES else _shown(c) for c in text)


class _Guarded:
    """A text stream that shows what a terminal would obey. Has state: the stream."""

    def __init__(self, stream: TextIO, allowed: re.Pattern[str] | None) -> None:
        self._stream = stream
        self._allowed = allowed

    def write(self, text: str | bytes) -> int:
        if isinstance(text, bytes):  # as click writes what completes a word
            text = text.decode(errors="backslashreplace")
        self._stream.write(_filtered(text, self._allowed))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":  # nobody is to write behind the filter
            raise AttributeError(name)
        return getattr(self._stream, name)


@contextmanager
def guarded() -> Iterator[None]:
    """Let all that is printed meanwhile pass the filter, in whatever encoding the streams have.

    A character that an encoding lacks is escaped; it is no reason to stop.
    """
    before = sys.stdout, sys.stderr
    guards = []
    for stream, moves in zip(before, (_COLOURS, _PROGRESS), strict=True):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
        guards.append(_Guarded(stream, moves if stream.isatty() else None))
    sys.stdout, sys.stderr = cast("list[TextIO]", guards)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
