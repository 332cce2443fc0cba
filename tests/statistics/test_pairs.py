"""Paired statistics against published examples and other implementations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from harness.statistics.pairs import (
    MCNEMAR,
    NEWCOMBE,
    SIGN_FLIP,
    detectable,
    difference,
    holm,
    newcombe,
    paired_test,
)


def table(both: int, first: int, second: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    one = [1.0] * both + [1.0] * first + [0.0] * second + [0.0] * neither
    other = [1.0] * both + [0.0] * first + [1.0] * second + [0.0] * neither
    return np.array(one), np.array(other)


def test_mcnemar_counts_discordant_prompts_only() -> None:
    first, second = table(59, 6, 16, 80)
    result = paired_test(first, second)
    assert (result.wins, result.losses, result.method) == (16, 6, MCNEMAR)
    # The binomial tail by hand: twice the chance of at most 6 of 22.
    assert result.p == pytest.approx(2 * stats.binom.cdf(6, 22, 0.5))
    assert paired_test(first, first).p == 1.0


def test_with_replicates_the_signs_of_prompts_are_flipped() -> None:
    rng = np.random.default_rng(0)
    first = rng.integers(0, 5, 60) / 4
    same = paired_test(first, rng.permutation(first))
    better = paired_test(first, np.minimum(first + 0.25, 1.0))
    assert same.method == better.method == SIGN_FLIP
    assert better.p < 0.001 < 0.02 < same.p
    # On binary scores the flips would agree with McNemar's exact test.
    one, other = table(30, 4, 13, 30)
    exact = paired_test(one, other).p
    assert paired_test(one * 0.5, other * 0.5).p == pytest.approx(exact, abs=0.01)


def test_the_macro_test_weighs_tags_alike() -> None:
    tags = [np.arange(10), np.arange(10, 90)]
    first = np.full(90, 0.5)
    small = first.copy()
    small[:10] = 1.0  # ten better prompts of a small tag …
    large = first.copy()
    large[10:20] = 1.0  # … weigh more than ten of a large one beside the same noise
    noise = np.where(np.arange(90) % 3 == 0, 0.25, -0.25) * (np.arange(90) >= 30)
    results = paired_test(first + noise, small, tags), paired_test(first + noise, large, tags)
    assert results[0].p < results[1].p and results[0].method == SIGN_FLIP
    equal = [np.arange(45), np.arange(45, 90)]
    assert paired_test(first + noise, small, equal).p == paired_test(first + noise, small).p
    assert paired_test(first, first, tags).p == 1.0


@pytest.mark.slow
def test_the_macro_test_rejects_as_often_as_it_says() -> None:
    rng = np.random.default_rng(6)
    tags = np.split(np.arange(120), [20, 60])
    p_values = []
    for _ in range(300):
        first, second = rng.integers(0, 4, (2, 120)) / 3
        p_values.append(paired_test(first, second, tags).p)
    # Three standard errors of 0.05 over 300 trials are 0.038.
    assert np.mean(np.array(p_values) <= 0.05) <= 0.088 and np.mean(p_values) > 0.4


def test_newcombe_agrees_with_his_examples() -> None:
    # Newcombe (1998), Statistics in Medicine 17:2635, method 10; cells e, f, g, h.
    for counts, (low, high) in {
        (36, 12, 2, 0): (0.0569, 0.3404),
        (36, 14, 0, 0): (0.1528, 0.4167),
    }.items():
        first, second = table(*counts)
        # His difference is first minus second.
        assert newcombe(second, first) == pytest.approx((low, high), abs=6e-4)


def test_equal_runs_have_an_interval_with_width_and_its_method() -> None:
    ones = np.ones(30)
    estimate = difference(ones, ones)
    assert estimate.method == NEWCOMBE and estimate.low < 0 < estimate.high
    assert difference(ones, ones, [np.arange(15), np.arange(15, 30)]).method == NEWCOMBE
    with pytest.raises(ValueError, match="common prompts"):
        difference(np.array([]), np.array([]))


def test_the_difference_agrees_with_scipys_bca() -> None:
    first, second = table(200, 30, 60, 100)
    # Over several seeds: of one alone the bias correction can be off by three steps of 1/390.
    estimates = [difference(first, second, seed=seed) for seed in range(12)]
    ends = np.mean([(estimate.low, estimate.high) for estimate in estimates], axis=0)
    expected = stats.bootstrap(
        (second - first,), np.mean, n_resamples=9999, rng=np.random.default_rng(0)
    ).confidence_interval
    assert ends == pytest.approx((expected.low, expected.high), abs=0.003)
    assert estimates[0].value == pytest.approx(30 / 390)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == []


def test_the_detectable_difference_is_found_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    n, spread = 553, 0.5
    gap = detectable(spread, n)
    assert gap == pytest.approx(2.8016 * spread / np.sqrt(n), rel=1e-4)
    z = rng.normal(gap, spread, (4000, n)).mean(axis=1) / (spread / np.sqrt(n))
    assert (np.abs(z) > 1.96).mean() == pytest.approx(0.8, abs=0.025)
