"""Waiting work, by batch shape, and the choice of what runs next. Pure: it does no I/O.

Work waits in queues of equal role and shape, because only such work can share a batch. A full batch
is always worth running; a short one costs as much as a full one, so it runs only when there is
nothing to wait for. Which rows share a batch never changes any row's pixels, so the scheduler is
free to do what is fastest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from harness.records import Role

Payload = TypeVar("Payload")
"""The caller's own value, handed back with its work."""


@dataclass(frozen=True, slots=True)
class Work(Generic[Payload]):
    """One row to be run.

    Attributes:
        shape: Only work of equal role and shape can share a batch.
        alone: Runs in a batch of its own: after a failure, so that one bad row cannot take
            its neighbours down with it again.
        rows: Rows of its batch; 0 for the role's batch size. Equal shapes have equal rows.
    """

    role: Role
    payload: Payload
    shape: Hashable = ()
    alone: bool = False
    rows: int = 0


class Scheduler(Generic[Payload]):
    """Waiting work. Has state: one queue for each role and shape, in order of arrival."""

    def __init__(self, batch_sizes: Mapping[Role, int]) -> None:
        self._batch_sizes = dict(batch_sizes)
        self._queues: dict[Role, dict[Hashable, deque[Work[Payload]]]] = {r: {} for r in Role}
        self._alone: dict[Role, deque[Work[Payload]]] = {role: deque() for role in Role}
        self._waiting = dict.fromkeys(Role, 0)
        self._full = dict.fromkeys(Role, 0)

    def waiting(self, role: Role) -> int:
        """Return how many rows wait for a role."""
        return self._waiting[role]

    def full(self, role: Role) -> int:
        """Return how many batches could run that no further row would make fuller."""
        return self._full[role] + len(self._alone[role])

    def add(self, work: Work[Payload]) -> None:
        """Queue one row."""
        if work.alone:
            self._alone[work.role].append(work)
        else:
            queue = self._queues[work.role].setdefault(work.shape, deque())
            queue.append(work)
            self._full[work.role] += len(queue) % self._rows(work) == 0
        self._waiting[work.role] += 1

    def next(self, role: Role, *, full_only: bool = False) -> list[Work[Payload]]:
        """Take the next batch for a role; empty if there is none worth running.

        Whatever fills its batch best goes first, the longest waiting among equals: full batches
        keep the device busy, and what is left of a queue gets time to fill.
        """
        if self._alone[role]:
            self._waiting[role] -= 1
            return [self._alone[role].popleft()]
        queues = self._queues[role]
        if not queues:
            return []
        shape, queue = max(queues.items(), key=lambda item: self._fill(item[1]))
        size = self._rows(queue[0])
        if full_only and len(queue) < size:
            return []
        self._full[role] -= len(queue) >= size
        batch = [queue.popleft() for _ in range(min(size, len(queue)))]
        if not queue:
            del queues[shape]
        self._waiting[role] -= len(batch)
        return batch

    def _rows(self, work: Work[Payload]) -> int:
        return work.rows or self._batch_sizes[work.role]

    def _fill(self, queue: deque[Work[Payload]]) -> float:
        return min(1.0, len(queue) / self._rows(queue[0]))
