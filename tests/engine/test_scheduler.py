from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.engine.scheduler import Scheduler, Work
from harness.records import Role

SIZES = {Role.GENERATOR: 4, Role.JUDGE: 2, Role.SCORER: 3, Role.METRIC: 5}

works = st.lists(
    st.tuples(st.sampled_from(list(Role)), st.integers(0, 3), st.booleans()), max_size=60
)


def add_all(rows: list[tuple[Role, int, bool]]) -> tuple[Scheduler[int], list[Work[int]]]:
    scheduler: Scheduler[int] = Scheduler(SIZES)
    added = [Work(role, n, shape, alone) for n, (role, shape, alone) in enumerate(rows)]
    for work in added:
        scheduler.add(work)
    return scheduler, added


@given(works)
def test_everything_runs_once_in_batches_of_one_shape(rows: list[tuple[Role, int, bool]]) -> None:
    scheduler, added = add_all(rows)
    taken: list[Work[int]] = []
    for role in Role:
        while batch := scheduler.next(role):
            assert len({(w.role, w.shape) for w in batch}) == 1 and batch[0].role is role
            assert len(batch) <= SIZES[role]
            assert len(batch) == 1 or not any(w.alone for w in batch)
            taken += batch
        assert scheduler.waiting(role) == 0
    assert sorted(w.payload for w in taken) == [w.payload for w in added]


@given(works)
def test_full_only_leaves_short_batches_waiting(rows: list[tuple[Role, int, bool]]) -> None:
    scheduler, _ = add_all(rows)
    for role in Role:
        before = scheduler.waiting(role)
        batch = scheduler.next(role, full_only=True)
        assert not batch or batch[0].alone or len(batch) == SIZES[role]
        assert scheduler.waiting(role) == before - len(batch)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40))
def test_a_full_bucket_goes_before_short_ones(buckets: list[int]) -> None:
    scheduler, _ = add_all([(Role.GENERATOR, bucket, False) for bucket in buckets])
    fullest = max(buckets.count(b) for b in set(buckets))
    assert len(scheduler.next(Role.GENERATOR)) == min(fullest, 4)


def test_rows_of_a_bucket_keep_their_order() -> None:
    scheduler, _ = add_all([(Role.JUDGE, 0, False)] * 5)
    assert [[w.payload for w in scheduler.next(Role.JUDGE)] for _ in range(4)] == [
        [0, 1],
        [2, 3],
        [4],
        [],
    ]
