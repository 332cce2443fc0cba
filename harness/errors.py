"""Errors meant for the person at the terminal: one sentence, a hint, an exit code.

And the kinds of what goes wrong with a batch: models raise them, the engine counts them, so they
are named where both can reach them.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from enum import StrEnum

LONGEST_MESSAGE = 2000
"""Characters of a message that are shown whole."""

_ENDLESS = re.compile(r"[^\s/]{512,}")
"""A name twice as long as any part of a path."""


class HarnessError(Exception):
    """Something failed for a reason the user can understand.

    Attributes:
        message: One sentence: what was given, what was expected.
        hint: What to do next, or "".
        exit_code: What the command line exits with.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        message = bounded(message)
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[type[HarnessError], tuple[str, ...]]:
        return type(self), (self.message, self.hint)


class UsageError(HarnessError):
    """The request itself is wrong: a bad flag, name, value or file given by the user."""

    exit_code = 2


class Interrupted(HarnessError):
    """Asked to stop, and stopped cleanly."""

    exit_code = 130


class Failure(StrEnum):
    """Kinds of failed tries. The first four take the worker with them (on Ray)."""

    KILLED = "killed"
    """The worker's process ended, or could not be reached any more and was then killed."""
    NODE_LOST = "node lost"
    """The machine that the worker was on left the cluster; not held against the draw."""
    OUT_OF_MEMORY = "out of memory"
    """Ray killed the worker to save its machine, or the device had no memory left."""
    HANG = "hang"
    """The batch ran past its deadline."""
    EXCEPTION = "exception"
    """The model raised."""
    NAN_IMAGE = "NaN image"
    BLACK_IMAGE = "black image"
    WRONG_SHAPE = "wrong shape"
    """An image of another shape or number type, or another number of answers than of rows."""
    BAD_NUMBER = "bad number"
    """A judge or scorer answered NaN, or what is outside of the range it must be in."""


class BadAnswer(HarnessError):
    """A model answered something that cannot be right."""

    def __init__(self, failure: Failure, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.failure = failure

    def __reduce__(self) -> tuple[type[BadAnswer], tuple[Failure, str, str]]:
        return type(self), (self.failure, self.message, self.hint)


def bounded(text: str) -> str:
    """Return a text without the middle of names that no file has, nor of what fills a screen.

    Names, options and settings come from anybody; a sentence about one stays a sentence.
    """
    text = _ENDLESS.sub(lambda name: f"{name[0][:60]}…{name[0][-20:]}", text)
    if len(text) <= LONGEST_MESSAGE:
        return text
    return f"{text[: LONGEST_MESSAGE // 2]} … {text[-LONGEST_MESSAGE // 4 :]}"


def first_line(error: BaseException) -> str:
    """The first line of an error's text, which some libraries let run over pages; else its type."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def shortened(items: list[str], limit: int = 5) -> str:
    """The first few of a list, and how many more there are."""
    more = len(items) - limit
    return ", ".join(items[:limit]) + (f" and {more} more" if more > 0 else "")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint that names the closest known spelling, or lists all that is known."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if not close and len(name) > 2:  # a part of it, as a short name for a long one
        close = [other for other in names if name.lower() in other.lower()][:1]
    listing = ", ".join(names) if names else "none"
    return f"did you mean '{close[0]}'? (known: {listing})" if close else f"known: {listing}"
