"""What can go wrong with a batch, by kind, so that it can be counted and told apart later."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from harness.errors import HarnessError
from harness.records import Role


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
    """A model answered something that cannot be right.

    Attributes:
        failure: Of which kind.
    """

    def __init__(self, failure: Failure, message: str) -> None:
        super().__init__(message)
        self.failure = failure

    def __reduce__(self) -> tuple[type[BadAnswer], tuple[Failure, str]]:
        return type(self), (self.failure, self.message)


@dataclass(frozen=True, slots=True)
class Failed:
    """A failed try as a value; it travels where the exception's class may be unknown.

    Attributes:
        failure: Of which kind.
        error: One line.
    """

    failure: Failure
    error: str

    @classmethod
    def of(cls, error: BaseException) -> Failed:
        """What an exception amounts to."""
        if isinstance(error, BadAnswer):
            return cls(error.failure, error.message)
        # torch's own class is told by its name: this module is to do without torch.
        memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
        kind = Failure.OUT_OF_MEMORY if memory else Failure.EXCEPTION
        return cls(kind, f"{type(error).__name__}: {error}")


def by_role(counts: Iterable[tuple[tuple[Role, Failure], int]]) -> dict[str, dict[str, int]]:
    """Counts of failures as the manifest has them: by role, by kind, without zeros."""
    found: dict[str, dict[str, int]] = {}
    for (role, failure), count in sorted(counts):
        if count:
            found.setdefault(str(role), {})[str(failure)] = count
    return found


def total(counts: Mapping[str, Mapping[str, int]]) -> int:
    """How many failures there were, whoever's and of whatever kind."""
    return sum(sum(kinds.values()) for kinds in counts.values())
