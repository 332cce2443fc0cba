"""The dispatcher alone: what runs now, what waits, and for how long."""

from __future__ import annotations

import heapq

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.engine import dispatch
from harness.engine.dispatch import BACKLOG_BATCHES, SCORER_PATIENCE_SECONDS, Dispatcher
from harness.engine.scheduler import Work
from harness.records import Role

G, J, S = Role.GENERATOR, Role.JUDGE, Role.SCORER
SIZES = dict.fromkeys(Role, 4)


class Desk:
    """A dispatcher, and workers that hold what they are given until told to end it."""

    def __init__(self, workers: int = 1, depth: int = 2, **rows: int) -> None:
        self.now = 0.0
        self.dispatcher: Dispatcher[int] = Dispatcher(SIZES, clock=lambda: self.now)
        self.workers, self.depth = workers, depth
        self.held: dict[Role, list[list[Work[int]]]] = {role: [] for role in Role}
        self.works = 0
        for role, count in rows.items():
            self.add(Role(role), count)

    def add(self, role: Role, count: int = 1, shape: int = 0) -> None:
        for _ in range(count):
            self.works += 1
            self.dispatcher.add(Work(role, self.works, shape))

    def free(self, role: Role, *, idle: bool = True) -> int:
        return max(0, self.workers * (1 if idle else self.depth) - len(self.held[role]))

    def turn(self) -> list[tuple[Role, int]]:
        """Submit what is to be submitted; says which role got how many rows, in order."""
        output = []
        for batch in self.dispatcher.batches(self.free):
            self.held[batch[0].role].append(batch)
            output.append((batch[0].role, len(batch)))
        return output

    def end(self, role: Role) -> int:
        rows = len(self.held[role].pop(0))
        self.dispatcher.ended(role, rows)
        return rows


def test_full_batches_fill_every_place_and_short_ones_wait_behind_them() -> None:
    desk = Desk(generator=11)
    assert desk.turn() == [(G, 4), (G, 4)]
    desk.end(G)
    assert desk.turn() == []  # one still runs, so the short one may yet fill up
    desk.end(G)
    assert desk.turn() == [(G, 3)]


def test_a_short_judge_batch_waits_while_the_generator_has_enough_to_do() -> None:
    desk = Desk(generator=8, judge=2)
    assert desk.turn() == [(G, 4), (G, 4)]
    desk.end(G)  # a place is free and no full batch for it: the verdicts are wanted now
    assert desk.turn() == [(J, 2)]


def test_a_short_generator_batch_waits_for_verdicts_that_could_fill_it() -> None:
    desk = Desk(generator=2, judge=2)
    assert desk.turn() == [(J, 2)]
    desk.end(J)
    desk.add(G, 2)
    assert desk.turn() == [(G, 4)]


def test_with_idle_generators_to_spare_a_short_batch_goes_at_once() -> None:
    desk = Desk(workers=3, generator=2, judge=2)
    assert desk.turn() == [(J, 2), (G, 2)]
    assert desk.free(G) == 2  # room for whatever the verdicts bring


def test_scoring_runs_full_or_last_or_when_it_has_waited_too_long() -> None:
    desk = Desk(generator=4, scorer=6)
    assert desk.turn() == [(S, 4), (G, 4)]
    desk.end(S)
    assert desk.turn() == []
    desk.now += SCORER_PATIENCE_SECONDS + 1
    assert desk.turn() == [(S, 2)]
    desk.end(S)
    desk.add(S, 1)
    desk.end(G)
    assert desk.turn() == [(S, 1)]


def test_rows_of_many_shapes_do_not_pass_for_full_batches() -> None:
    desk = Desk()
    for shape in range(5):
        desk.add(G, 3, shape)
    assert desk.dispatcher.wants_search(desk.free)  # 15 rows and nothing full
    desk.add(G, 12, shape=0)
    assert not desk.dispatcher.wants_search(desk.free)


@given(
    st.integers(1, 3),
    st.integers(1, 2),
    st.lists(st.tuples(st.sampled_from(list(Role)), st.integers(0, 2)), max_size=60),
    st.randoms(use_true_random=False),
)
def test_everything_is_run_once_and_nobody_is_overloaded(workers, depth, rows, random) -> None:  # type: ignore[no-untyped-def]
    desk = Desk(workers, depth)
    for role, shape in rows:
        desk.add(role, 1, shape)
    run = 0
    while True:
        desk.turn()
        assert all(len(held) <= workers * depth for held in desk.held.values())
        busy = [role for role in Role if desk.held[role]]
        assert bool(busy) == desk.dispatcher.in_flight
        if not busy:
            break
        run += desk.end(random.choice(busy))
    assert run == len(rows) and not desk.dispatcher.waiting


@given(
    st.integers(1, 3),
    st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=40),
    st.integers(0, 10),
)
def test_full_batches_are_counted_right(size, rows, taken) -> None:  # type: ignore[no-untyped-def]
    from harness.engine.scheduler import Scheduler

    scheduler = Scheduler({G: size})
    for number, (shape, alone) in enumerate(rows):
        scheduler.add(Work(G, number, shape, alone))
    for _ in range(taken):
        scheduler.next(G)
    counted = scheduler.full(G)
    result = 0
    while scheduler.next(G, full_only=True):
        result += 1
    assert counted == result


class Floor:
    """Workers of every role, each with a queue, under a virtual clock; searches without end."""

    def __init__(
        self, seconds: dict[Role, float], sizes: dict[Role, int], workers: dict[Role, int]
    ) -> None:
        self.now = 0.0
        self.dispatcher: Dispatcher[int] = Dispatcher(sizes, clock=lambda: self.now)
        self.seconds, self.roles = seconds, list(seconds)
        self.until = {role: [0.0] * workers[role] for role in seconds}
        self.held = {role: [0] * workers[role] for role in seconds}
        self.ends: list[tuple[float, int, int, list[Work[int]]]] = []
        self.submitted: list[tuple[float, Role, int]] = []
        self.missing: dict[int, int] = {}
        self.works = self.most = 0

    def free(self, role: Role, *, idle: bool = True) -> int:
        return sum(max(0, (1 if idle else 2) - held) for held in self.held.get(role, []))

    def run(self, searches: int, draws: int) -> Floor:
        """Searches that ask for all their draws at once, each to be judged and scored."""
        while True:
            while searches and self.dispatcher.wants_search(self.free):
                searches -= 1
                for _ in range(draws):
                    self.works += 1
                    self.dispatcher.add(Work(G, self.works))
            for batch in self.dispatcher.batches(self.free):
                self._submit(batch)
            if not self.ends:
                assert not searches and not self.dispatcher.waiting and not self.missing
                return self
            self.now = self.ends[0][0]
            while self.ends and self.ends[0][0] == self.now:
                self._end(*heapq.heappop(self.ends)[2:])
            self.most = max(self.most, len(self.missing))

    def _submit(self, batch: list[Work[int]]) -> None:
        role = batch[0].role
        worker = min(range(len(self.held[role])), key=lambda n: self.held[role][n])
        self.held[role][worker] += 1
        end = max(self.now, self.until[role][worker]) + self.seconds[role]
        self.until[role][worker] = end
        self.submitted.append((self.now, role, len(batch)))
        heapq.heappush(self.ends, (end, len(self.submitted), worker, batch))

    def _end(self, worker: int, batch: list[Work[int]]) -> None:
        role = batch[0].role
        self.held[role][worker] -= 1
        self.dispatcher.ended(role, len(batch))
        for work in batch:
            if role is G:
                self.missing[work.payload] = len(self.roles) - 1
                for other in self.roles[1:]:
                    self.dispatcher.add(Work(other, work.payload))
            else:
                self.missing[work.payload] -= 1
                if not self.missing[work.payload]:
                    del self.missing[work.payload]


EIGHTS = dict.fromkeys(Role, 8)


@pytest.mark.parametrize("slow", [J, S])
@pytest.mark.parametrize("workers", [1, 5])
def test_images_do_not_pile_up_before_a_slow_judge_or_scorer(slow: Role, workers: int) -> None:
    def most(searches: int) -> int:
        seconds = {G: 1.0, J: 0.5, S: 0.5, slow: 2.0}
        floor = Floor(seconds, EIGHTS, dict.fromkeys(Role, workers)).run(searches, 20)
        # Nobody waits for the generator: the slow role works from its first batch to its last.
        batches = searches * 20 / 8 / workers
        assert floor.now == pytest.approx(2.0 * batches, rel=0.05)
        return floor.most

    few, many = most(100 * workers), most(400 * workers)
    assert few == many
    # Besides those that wait: what is at work, or queued for it, at generators and the slow role.
    assert many <= workers * 8 * 2 * (BACKLOG_BATCHES + 2)


def test_one_row_alone_scored_for_many_made_does_not_stop_the_run() -> None:
    sizes = {G: 64, J: 1, S: 3}
    floor = Floor({G: 0.1, J: 1.0, S: 7.0}, sizes, {G: 3, J: 2, S: 1}).run(40, 20)
    assert floor.most <= 64 * 6 * (BACKLOG_BATCHES + 1) + 8


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 16),
    st.fixed_dictionaries({J: st.integers(1, 4), S: st.integers(1, 4)}),
    st.fixed_dictionaries({role: st.sampled_from([1, 2, 4, 8, 32]) for role in Role}),
    st.fixed_dictionaries({J: st.sampled_from([0.1, 0.5, 1.0]), S: st.sampled_from([0.3, 0.9])}),
    st.booleans(),
)
def test_a_judge_and_a_scorer_that_keep_up_hold_no_generator_back(  # type: ignore[no-untyped-def]
    generators, lookers, sizes, share, judged
) -> None:
    workers = {G: generators, **lookers}
    seconds = {G: 1.0}
    for role in (J, S) if judged else (S,):
        # In the time of a batch of every generator it gets through as many rows, or more.
        rows = generators * sizes[G]
        seconds[role] = share[role] * workers[role] * sizes[role] / rows
    bounded = Floor(seconds, sizes, workers).run(40, 20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dispatch, "BACKLOG_BATCHES", 10**9)
        unbounded = Floor(seconds, sizes, workers).run(40, 20)
    assert bounded.submitted == unbounded.submitted
