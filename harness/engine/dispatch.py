"""The choice of the batch that runs next, and whether it may be short. Pure but for a clock.

One rule holds it together: the generator is the only thing that should ever be waited for. So
searches are opened until whole batches wait for it, and full batches fill every place of every
role. Where each role has workers of its own, roles do not compete. Where one place serves all,
full batches of judge and scorer go before the generator's: they have to run at some time, so that
costs no time in total, and their images leave memory. Short batches cost as much as full ones:
the judge's run where the generator would otherwise run dry, since verdicts become draws; those of
the scorer and of the metrics when nothing else is left or they have waited too long.

The exception is a judge or a scorer that is slower than the generator: while too many images wait
for it, nothing more is drawn, or they would fill the memory. The engine asks all this of real
executors, the simulation of virtual ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Generic, Protocol

from harness.engine.scheduler import Payload, Scheduler, Work
from harness.records import Role

UNHURRIED = (Role.SCORER, Role.METRIC)
"""Roles that look at images and bring no further draws."""

FOLLOWERS = (*UNHURRIED, Role.JUDGE)
"""Roles that look at an image once it is made."""

SCORER_PATIENCE_SECONDS = 5.0
"""Time that scorer and metrics may wait for a full batch: rows are only written after them."""

BACKLOG_BATCHES = 2
"""Batches a place (a worker has two) that may wait for the judge or the scorer.

Every waiting row holds its image in the driver's memory. Generators that all end at once bring a
quarter of this, so where judge and scorer keep up, nobody is held back.
"""


class Free(Protocol):
    """Return how many batches a role can take: idle workers only, or places in queues too."""

    def __call__(self, role: Role, *, idle: bool = True) -> int:
        """As an executor's `free`."""


class Dispatcher(Generic[Payload]):
    """Hands out batches. Has state: waiting rows, and how much each role holds.

    Args:
        batch_sizes: Rows of each role's one batch shape.
        clock: Seconds; only differences count.
    """

    def __init__(
        self, batch_sizes: Mapping[Role, int], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sizes = dict(batch_sizes)
        # Whom searches keep busy: the scorer, where images are there already.
        self._first = next((role for role in Role if role in self._sizes), None)
        self._scheduler: Scheduler[Payload] = Scheduler(batch_sizes)
        self._batches = dict.fromkeys(Role, 0)
        self._rows = dict.fromkeys(Role, 0)
        self._clock = clock
        self._last = dict.fromkeys(UNHURRIED, clock())

    @property
    def in_flight(self) -> bool:
        """Return whether anybody is at work."""
        return any(self._batches.values())

    @property
    def waiting(self) -> bool:
        """Return whether any row waits for somebody."""
        return any(self._scheduler.waiting(role) for role in Role)

    def add(self, work: Work[Payload]) -> None:
        """Queue one row."""
        self._scheduler.add(work)

    def ended(self, role: Role, rows: int) -> None:
        """Take notice that a batch of so many rows came back, well or badly."""
        self._batches[role] -= 1
        self._rows[role] -= rows

    def wants_search(self, free: Free) -> bool:
        """Return whether another search should be opened.

        One full batch is kept beyond those that can be handed out now. Full ones count, not
        rows: rows of different shapes that never fill a batch would keep nobody busy. Where no
        model is asked, nothing is waited for.
        """
        if self._first is None:
            return True
        full = self._scheduler.full(self._first)
        return full <= free(self._first, idle=False) and not self._held_back(free)

    def batches(self, free: Free) -> Iterator[list[Work[Payload]]]:
        """The batches to submit now, in this order; each is to be submitted before the next.

        The executor is asked anew who is free after every batch.
        """
        for role in (Role.JUDGE, *UNHURRIED):
            yield from self._all(role, free, full_only=True)
        if not self._held_back(free):
            yield from self._drawing(free)
        nothing_else = not (self._busy(Role.GENERATOR) or self._busy(Role.JUDGE))
        for role in UNHURRIED:
            if nothing_else or self._clock() - self._last[role] > SCORER_PATIENCE_SECONDS:
                yield from self._all(role, free)

    def _drawing(self, free: Free) -> Iterator[list[Work[Payload]]]:
        """The generator's batches, and short ones of the judge that may bring it more."""
        yield from self._all(Role.GENERATOR, free, full_only=True)
        if free(Role.GENERATOR, idle=False) > 0 or not self._batches[Role.GENERATOR]:
            yield from self._all(Role.JUDGE, free)
        while self._short_is_worth_it(free) and (batch := self._next(Role.GENERATOR)):
            yield batch

    def _held_back(self, free: Free) -> bool:
        """Return whether enough images wait for the judge, scorer or metrics already.

        More than a full batch of that role waits then, so it is at work, or will be as soon as a
        worker of it is back: this always ends.
        """
        return any(self._lags(role, free) for role in FOLLOWERS)

    def _lags(self, role: Role, free: Free) -> bool:
        waiting = self._scheduler.waiting(role)
        if not self._first or not waiting or waiting <= BACKLOG_BATCHES * self._sizes[role]:
            return False
        places = max(self._places(self._first, free), self._places(role, free))
        return waiting > BACKLOG_BATCHES * places

    def _places(self, role: Role, free: Free) -> int:
        """Rows that a role's workers can hold, at work and queued; none while all are replaced."""
        return self._sizes[role] * (free(role, idle=False) + self._batches[role])

    def _short_is_worth_it(self, free: Free) -> bool:
        """Return whether a generator would stand idle even when all that is being judged came back.

        A short batch takes as long as a full one. While verdicts could still fill it, it only
        runs if the other idle generators have room for what the verdicts may bring.
        """
        idle = free(Role.GENERATOR)
        judged = self._rows[Role.JUDGE] + self._scheduler.waiting(Role.JUDGE)
        return idle > 0 and (idle - 1) * self._sizes[Role.GENERATOR] >= judged

    def _busy(self, role: Role) -> bool:
        return self._batches[role] > 0 or self._scheduler.waiting(role) > 0

    def _all(
        self, role: Role, free: Free, *, full_only: bool = False
    ) -> Iterator[list[Work[Payload]]]:
        while free(role, idle=not full_only) > 0:
            batch = self._next(role, full_only=full_only)
            if not batch:
                return
            yield batch

    def _next(self, role: Role, *, full_only: bool = False) -> list[Work[Payload]]:
        batch = self._scheduler.next(role, full_only=full_only)
        if batch:
            self._batches[role] += 1
            self._rows[role] += len(batch)
            if role in self._last:
                self._last[role] = self._clock()
        return batch
