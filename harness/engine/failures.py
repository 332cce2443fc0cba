"""A batch that went wrong, as a value that is counted; the kinds are in `harness.errors`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from harness.errors import BadAnswer, Failure
from harness.records import Role


@dataclass(frozen=True, slots=True)
class Failed:
    """A failed try, its error one line; it travels where the exception's class may be unknown."""

    failure: Failure
    error: str

    @classmethod
    def of(cls, error: BaseException) -> Failed:
        """Return the failure that an exception amounts to."""
        if isinstance(error, BadAnswer):
            return cls(error.failure, error.message)
        # torch's own class is told by its name: this module is to do without torch.
        memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
        kind = Failure.OUT_OF_MEMORY if memory else Failure.EXCEPTION
        return cls(kind, f"{type(error).__name__}: {error}")


def by_role(counts: Iterable[tuple[tuple[Role, Failure], int]]) -> dict[str, dict[str, int]]:
    """Counts of failures as the manifest has them: by role, by kind, without zeros."""
    counts_by_role: dict[str, dict[str, int]] = {}
    for (role, failure), count in sorted(counts):
        if count:
            counts_by_role.setdefault(str(role), {})[str(failure)] = count
    return counts_by_role


def total(counts: Mapping[str, Mapping[str, int]]) -> int:
    """The number of failures, whoever's and of whatever kind."""
    return sum(sum(kinds.values()) for kinds in counts.values())
