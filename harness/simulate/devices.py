"""Pretended GPUs under a virtual clock.

Each holds one worker of each role, as runs place them by default. A GPU runs one batch at a
time and its roles take turns; a worker holds one batch at work and one in its queue.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from harness.engine.executors.base import QUEUE_DEPTH
from harness.engine.scheduler import Work
from harness.records import Role


@dataclass(frozen=True)
class Ran:
    """One batch that was run on a GPU, with the virtual seconds at which it began and ended."""

    gpu: int
    role: Role
    start: float
    end: float
    batch: list[Work[Any]]


@dataclass
class _Gpu:
    queues: dict[Role, deque[list[Work[Any]]]]
    running: tuple[Role, float, list[Work[Any]]] | None = None
    turns: list[Role] = field(default_factory=list)


class Devices:
    """Runs what it is given, in virtual time. Has state: the clock and every queue."""

    def __init__(
        self,
        gpus: int,
        roles: Collection[Role],
        seconds: Callable[[list[Work[Any]]], float],
    ) -> None:
        self.now = 0.0
        self._seconds = seconds
        self._gpus = [_Gpu({r: deque() for r in roles}, turns=list(roles)) for _ in range(gpus)]
        self._held = {role: [0] * gpus for role in roles}
        self._given = {role: [0] * gpus for role in roles}
        # Least busy first, then least used. Entries that are out of date are skipped.
        self._order = {role: [(0, 0, gpu) for gpu in range(gpus)] for role in roles}
        self._idle = dict.fromkeys(roles, gpus)
        self._places = dict.fromkeys(roles, gpus * QUEUE_DEPTH)
        self._ends: list[tuple[float, int]] = []

    def free(self, role: Role, *, idle: bool = True) -> int:
        """As an executor's."""
        return (self._idle if idle else self._places).get(role, 0)

    def submit(self, batch: list[Work[Any]]) -> None:
        """Give a batch to the least busy worker of its role."""
        role = batch[0].role
        order, held, given = self._order[role], self._held[role], self._given[role]
        while True:
            load, used, gpu = heapq.heappop(order)
            if (load, used) == (held[gpu], given[gpu]):
                break
        self._idle[role] -= load == 0
        self._places[role] -= 1
        held[gpu] += 1
        given[gpu] += 1
        heapq.heappush(order, (held[gpu], given[gpu], gpu))
        self._gpus[gpu].queues[role].append(batch)
        self._start(gpu)

    def wait(self) -> list[Ran]:
        """Let time pass until a batch ends; all that end at that moment, none if none runs."""
        ended: list[Ran] = []
        if not self._ends:
            return ended
        self.now = self._ends[0][0]
        while self._ends and self._ends[0][0] == self.now:
            _, number = heapq.heappop(self._ends)
            gpu = self._gpus[number]
            assert gpu.running is not None
            (role, start, batch), gpu.running = gpu.running, None
            self._held[role][number] -= 1
            load = self._held[role][number]
            self._idle[role] += load == 0
            self._places[role] += 1
            heapq.heappush(self._order[role], (load, self._given[role][number], number))
            ended.append(Ran(number, role, start, self.now, batch))
            self._start(number)
        return ended

    def _start(self, number: int) -> None:
        gpu = self._gpus[number]
        if gpu.running is not None:
            return
        role = next((role for role in gpu.turns if gpu.queues[role]), None)
        if role is None:
            return
        gpu.turns.remove(role)
        gpu.turns.append(role)
        gpu.running = (role, self.now, gpu.queues[role].popleft())
        heapq.heappush(self._ends, (self.now + self._seconds(gpu.running[2]), number))
