"""The formulas against brute force over all subsets and all orders."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.statistics import subsets

Row = tuple[float, bool, float, bool]  # judge's score, accepted, grade, answered


def draws() -> st.SearchStrategy[list[Row]]:
    grade = st.sampled_from([0.0, 0.25, 0.5, 1.0, 1.0625])
    one = st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.booleans(), grade, st.booleans())
    return st.lists(one, min_size=1, max_size=5)


def arrays(rows: list[Row]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    score = np.array([[r[0] if r[3] else -np.inf for r in rows]])
    accepted = np.array([[r[1] and r[3] for r in rows]])
    value = np.array([[r[2] * r[3] for r in rows]])
    answered = np.array([[r[3] for r in rows]])
    return score, accepted, value, answered


def expect(rows: list[Row], n: int, outcome) -> float:  # type: ignore[no-untyped-def]
    """Mean of an outcome over all subsets of n in all orders."""
    result = [
        outcome([r for r in order])
        for subset in combinations(rows, n)
        for order in permutations(subset)
    ]
    return float(np.mean(result))


def best(order: list[Row]) -> float:
    made = [r for r in order if r[3]]
    return max(made, key=lambda r: r[0])[2] if made else 0.0


def first(order: list[Row]) -> float:
    for row in order:
        if row[3] and row[1]:
            return row[2]
    made = [r for r in order if r[3]]
    return made[-1][2] if made else 0.0


def stop(order: list[Row]) -> float:
    for number, row in enumerate(order, start=1):
        if row[3] and row[1]:
            return number
    return len(order)


def pick(order: list[Row]) -> float:
    made = [r for r in order if r[3]]
    return made[0][2] if made else 0.0


@given(draws())
@settings(max_examples=60, deadline=None)
def test_every_formula_is_the_mean_over_all_subsets_and_orders(rows: list[Row]) -> None:
    score, accepted, value, answered = arrays(rows)
    result = {
        best: subsets.by_score(score, value),
        first: subsets.first_accepted(value, accepted, answered),
        stop: subsets.draws_until_accepted(accepted),
        pick: subsets.at_random(value, answered),
        (lambda order: max(r[2] * r[3] for r in order)): subsets.by_oracle(value),
    }
    for outcome, values in result.items():
        for n in range(1, len(rows) + 1):
            assert values[0, n - 1] == pytest.approx(expect(rows, n, outcome), abs=1e-12)


def test_weights_stay_exact_for_many_draws() -> None:
    weights = subsets.rank_weights(2048)
    assert weights.sum(axis=0) == pytest.approx(np.ones(2048), abs=1e-9)
    assert weights[:, 0] == pytest.approx(np.full(2048, 1 / 2048))
    assert weights[0, -1] == pytest.approx(1.0) and weights[0, 1023] == pytest.approx(0.5)
    # pass@n with c of N: the textbook product.
    c, n = 40, 100
    miss = np.prod([(2048 - c - i) / (2048 - i) for i in range(n)])
    assert subsets.hit_chances(2048)[c, n - 1] == pytest.approx(1 - miss, abs=1e-9)


@pytest.mark.parametrize("draws", [3, 8, 20, 64])
def test_what_is_certain_is_exactly_one(draws: int) -> None:
    """Less by the last bit would be a loss against another run's one."""
    score = np.linspace(0, 1, draws)[None, :]
    assert (subsets.by_score(score, np.ones((1, draws), bool)) == 1.0).all()


def test_right_and_wrong_give_the_bits_of_pass_at_n() -> None:
    """Grades of 0 and 1 are no other numbers than counts of right draws."""
    correct = np.random.default_rng(0).random((200, 37)) < 0.3
    expected = subsets.hit_chances(37)[correct.sum(axis=1)]
    assert np.array_equal(subsets.by_oracle(correct), expected)


def test_the_expectation_is_unbiased_for_fresh_draws() -> None:
    """Best of 3 estimated from 8 draws is what best of 3 of fresh draws gives."""
    rng = np.random.default_rng(0)
    score = rng.normal(size=(40_000, 8))
    correct = rng.random(score.shape) < 1 / (1 + np.exp(-score))
    estimated = subsets.by_score(score, correct)[:, 2].mean()
    fresh = correct[np.arange(len(score)), score[:, :3].argmax(axis=1)].mean()
    assert estimated == pytest.approx(fresh, abs=0.008)


def test_a_search_without_draws_is_wrong_at_every_n() -> None:
    nothing = np.zeros((1, 3), bool)
    for values in (
        subsets.by_score(np.full((1, 3), -np.inf), nothing),
        subsets.by_oracle(nothing),
        subsets.at_random(nothing, nothing),
        subsets.first_accepted(nothing, nothing, nothing),
    ):
        assert not values.any()
