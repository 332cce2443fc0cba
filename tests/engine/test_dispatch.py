"""The dispatcher alone: what runs now, what waits, and for how long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.engine.dispatch import SCORER_PATIENCE_SECONDS, Dispatcher
from harness.engine.scheduler import Work
from harness.records import Role

G, J, S = Role.GENERATOR, Role.JUDGE, Role.SCORER
SIZES = {G: 4, J: 4, S: 4}


class Desk:
    """A dispatcher, and workers that hold what they are given until told to end it."""

    def __init__(self, workers: int = 1, depth: int = 2, **rows: int) -> None:
        self.now = 0.0
        self.dispatcher = Dispatcher(SIZES, clock=lambda: self.now)
        self.workers, self.depth = workers, depth
        self.held: dict[Role, list[list[Work]]] = {role: [] for role in Role}
        self.works = 0
        for role, count in rows.items():
            self.add(Role(role), count)

    def add(self, role: Role, count: int = 1, bucket: int = 0) -> None:
        for _ in range(count):
            self.works += 1
            self.dispatcher.add(Work(self.works, role, bucket))

    def free(self, role: Role, *, idle: bool = True) -> int:
        return max(0, self.workers * (1 if idle else self.depth) - len(self.held[role]))

    def turn(self) -> list[tuple[Role, int]]:
        """Submit what is to be submitted; says which role got how many rows, in order."""
        said = []
        for batch in self.dispatcher.batches(self.free):
            self.held[batch[0].role].append(batch)
            said.append((batch[0].role, len(batch)))
        return said

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
    for bucket in range(5):
        desk.add(G, 3, bucket)
    assert desk.dispatcher.wants_search(desk.free)  # 15 rows and nothing full
    desk.add(G, 12, bucket=0)
    assert not desk.dispatcher.wants_search(desk.free)


@given(
    st.integers(1, 3),
    st.integers(1, 2),
    st.lists(st.tuples(st.sampled_from(list(Role)), st.integers(0, 2)), max_size=60),
    st.randoms(use_true_random=False),
)
def test_everything_is_run_once_and_nobody_is_overloaded(workers, depth, rows, random) -> None:  # type: ignore[no-untyped-def]
    desk = Desk(workers, depth)
    for role, bucket in rows:
        desk.add(role, 1, bucket)
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
    for number, (bucket, alone) in enumerate(rows):
        scheduler.add(Work(number, G, bucket, alone))
    for _ in range(taken):
        scheduler.next(G)
    counted = scheduler.full(G)
    found = 0
    while scheduler.next(G, full_only=True):
        found += 1
    assert counted == found
