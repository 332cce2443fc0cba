"""The result of a check: passed, failed, not applicable or only claimed, with the evidence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa

from harness.errors import HarnessError

MOST_SHOWN = 5
"""Problems that are listed by name; of the others only the number is given."""


class Status(StrEnum):
    """The result of a check, in one word."""

    PASS = "pass"
    FAIL = "fail"
    NOT_APPLICABLE = "not applicable"
    CLAIMED = "claimed"
    """The run says so, and nobody can check it."""


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one check.

    Attributes:
        evidence: What was seen, or why nothing could be; the most important first.
        check: The check's name, once it is carried out.
    """

    looked_at: str
    outcome: Status
    evidence: tuple[str, ...] = ()
    check: str = ""

    @property
    def failed(self) -> bool:
        """True if the run is not what it says."""
        return self.outcome is Status.FAIL


class CannotCheck(Exception):
    """A check does not apply; the message says why."""


@contextmanager
def checkable(*, hints: bool = False) -> Iterator[None]:
    """Turn what the harness refuses into a check that does not apply, for its reason."""
    try:
        yield
    except HarnessError as error:
        parts = (error.message, error.hint if hints else "")
        raise CannotCheck("; ".join(filter(None, parts))) from error


@contextmanager
def readable_log() -> Iterator[None]:
    """Turn a log that cannot be read into a check that cannot be made."""
    try:
        yield
    except (HarnessError, pa.ArrowException, OSError, ValueError) as error:
        raise CannotCheck(f"the log cannot be read: {error}") from error


class Problems:
    """The problems that a check sees. Has state: the first few by name, and how many there were."""

    def __init__(self) -> None:
        self.count = 0
        self._shown: list[str] = []

    def __bool__(self) -> bool:
        return self.count > 0

    def __iter__(self) -> Iterator[str]:
        yield from self._shown
        if self.count > len(self._shown):
            yield f"and {self.count - len(self._shown)} more"

    def add(self, problem: str) -> None:
        """Note one."""
        self.count += 1
        if len(self._shown) < MOST_SHOWN:
            self._shown.append(problem)

    def extend(self, where: str, problems: Iterable[str]) -> None:
        """Note all problems of one place."""
        for problem in problems:
            self.add(f"{where}: {problem}")


def concluded(
    looked_at: str, problems: Problems, evidence: Sequence[str] = (), well: Status = Status.PASS
) -> Result:
    """The result of a check that was carried out: failed where there are problems, else `well`."""
    return Result(looked_at, Status.FAIL if problems else well, (*problems, *evidence))


def count(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun: "1 row", "2 rows"."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"
