"""Errors meant for the person at the terminal: one sentence, a hint, an exit code."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HarnessError(Exception):
    """Something failed for a reason the user can understand.

    Attributes:
        message: One sentence: what was given, what was expected.
        hint: What to do next, or "".
        exit_code: What the command line exits with.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[type[HarnessError], tuple[str, str]]:
        return type(self), (self.message, self.hint)


class UsageError(HarnessError):
    """The request itself is wrong: a bad flag, name, value or file given by the user."""

    exit_code = 2


class Interrupted(HarnessError):
    """Asked to stop, and stopped cleanly."""

    exit_code = 130


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint that names the closest known spelling, or lists all that is known."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    listing = ", ".join(names) if names else "none"
    return f"did you mean '{close[0]}'? (known: {listing})" if close else f"known: {listing}"
