"""The vectorised bootstrap: against scipy's, and by how often its intervals cover."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from harness.statistics.intervals import (
    STRATIFIED,
    bca,
    mean_bands,
    quantiles,
    resamples,
    wilson,
)
from harness.statistics.pairs import difference

PROMPTS = 553
TRIALS = 2000


def test_agrees_with_scipy_on_skewed_values() -> None:
    rng = np.random.default_rng(0)
    values = np.column_stack([rng.random(80) < p for p in (0.05, 0.5, 0.95)]).astype(float)
    bands = bca(values, seed=1, level=0.95)
    for column in range(3):
        expected = stats.bootstrap(
            (values[:, column],), np.mean, n_resamples=9999, rng=np.random.default_rng(0)
        ).confidence_interval
        result = (bands.low[column], bands.high[column])
        assert result == pytest.approx((expected.low, expected.high), abs=0.013)


def test_resamples_are_seeded_and_independent_between_strata() -> None:
    assert resamples(20, 0) is resamples(20, 0)
    assert not np.array_equal(resamples(20, 0), resamples(20, 1))
    assert not np.array_equal(resamples(20, 0, 1), resamples(20, 0, 2))
    assert resamples(20, 0).sum(axis=1) == pytest.approx(np.ones(2000), abs=1e-5)


def test_quantiles_are_numpys() -> None:
    rows = np.sort(np.random.default_rng(0).random((3, 101)).astype(np.float32), axis=1)
    shares = np.array([[0.025, 0.5, 1.0], [0.975, np.nan, 0.0]])
    result = quantiles(rows, shares)
    for (i, j), share in np.ndenumerate(shares):
        expected = np.nan if np.isnan(share) else np.quantile(rows[j], share)
        assert result[i, j] == pytest.approx(expected, nan_ok=True, abs=1e-6)


def test_an_interval_does_not_hang_on_the_order_of_prompts() -> None:
    rng = np.random.default_rng(5)
    values = rng.integers(0, 4, (60, 3)) / 3
    tags = rng.integers(0, 3, 60)
    shuffled = rng.permutation(60)
    strata = [np.flatnonzero(tags == tag) for tag in range(3)]
    others = [rng.permutation(np.flatnonzero(tags[shuffled] == tag)) for tag in range(3)]
    for bands, other in (
        (mean_bands(values)[0], mean_bands(values[shuffled])[0]),
        (mean_bands(values, strata)[0], mean_bands(values[shuffled], others)[0]),
    ):
        assert np.array_equal(bands.low, other.low) and np.array_equal(bands.high, other.high)
    first, second = values[:, 0], values[:, 1]
    moved = difference(first[shuffled], second[shuffled])
    assert moved == difference(first, second)


def test_a_column_does_not_depend_on_its_neighbours() -> None:
    values = (np.random.default_rng(2).random((60, 5)) < 0.6).astype(float)
    together, _ = mean_bands(values)
    alone, _ = mean_bands(values[:, 2:3])
    assert (together.low[2], together.high[2]) == (
        pytest.approx(alone.low[0], abs=1e-6),
        pytest.approx(alone.high[0], abs=1e-6),
    )


@pytest.mark.parametrize("p", [0.62, 0.81, 0.95])
def test_nominal_95_covers_93_to_97_at_the_size_of_geneval(p: float) -> None:
    """2000 simulated benchmarks; the standard error of a coverage of 0.95 is 0.005."""
    rng = np.random.default_rng(11)
    values = (rng.random((PROMPTS, TRIALS)) < p).astype(float)
    bands, _ = mean_bands(values)
    assert 0.93 <= ((bands.low <= p) & (p <= bands.high)).mean() <= 0.97
    ends = np.array([wilson(s, PROMPTS) for s in values.sum(axis=0)])
    assert 0.93 <= ((ends[:, 0] <= p) & (p <= ends[:, 1])).mean() <= 0.97


def test_macro_and_replicates_cover_as_often_as_they_say() -> None:
    rng = np.random.default_rng(5)
    sizes = (80, 99, 80, 94, 100, 100)  # GenEval's tags
    rates = rng.uniform(0.2, 0.95, len(sizes))
    strata = np.split(np.arange(PROMPTS), np.cumsum(sizes)[:-1])
    # Four replicates a prompt, prompts of unlike difficulty around their tag's.
    tags = np.repeat(rates, sizes)
    spread = np.minimum(tags, 1 - tags)[:, None] * rng.uniform(-0.9, 0.9, (PROMPTS, TRIALS))
    values = rng.binomial(4, tags[:, None] + spread) / 4
    macro, micro = rates.mean(), tags.mean()
    bands, _ = mean_bands(values, strata)
    assert 0.93 <= ((bands.low <= macro) & (macro <= bands.high)).mean() <= 0.97
    bands, _ = mean_bands(values)
    # Micro intervals treat the tags' shares as drawn too, so they may be wider than needed.
    assert ((bands.low <= micro) & (micro <= bands.high)).mean() >= 0.93


def test_paired_differences_cover_as_often_as_they_say() -> None:
    rng = np.random.default_rng(8)
    shared = rng.random((PROMPTS, TRIALS))  # common noise makes the pairs correlated
    first = (shared < 0.62).astype(float)
    second = np.where(rng.random(shared.shape) < 0.8, shared < 0.75, rng.random(shared.shape) < 0.7)
    true = 0.8 * 0.75 + 0.2 * 0.7 - 0.62
    bands = bca(second - first, seed=0, level=0.95)
    assert 0.93 <= ((bands.low <= true) & (true <= bands.high)).mean() <= 0.97
    single = difference(first[:, 0], second[:, 0].astype(float))
    assert single.low == pytest.approx(bands.low[0], abs=1e-6)


def test_macro_differences_cover_as_often_as_they_say() -> None:
    rng = np.random.default_rng(9)
    sizes = (80, 99, 80, 94, 100, 100)
    rates = np.repeat(rng.uniform(0.2, 0.9, len(sizes)), sizes)[:, None]
    strata = np.split(np.arange(PROMPTS), np.cumsum(sizes)[:-1])
    noise = rng.random((PROMPTS, TRIALS))
    gaps = (noise < rates + 0.06).astype(float) - (noise < rates)
    gaps += (rng.random(noise.shape) < 0.05) * rng.choice([-1.0, 1.0], noise.shape)
    bands = bca(gaps, strata, seed=0, level=0.95)
    assert 0.93 <= ((bands.low <= 0.06) & (bands.high >= 0.06)).mean() <= 0.97
    single = difference(np.zeros(PROMPTS), gaps[:, 0], strata)
    assert (single.low, single.method) == (pytest.approx(bands.low[0], abs=1e-6), STRATIFIED)


def test_the_macro_interval_agrees_with_scipys_for_several_samples() -> None:
    rng = np.random.default_rng(4)
    groups = [(rng.random(n) < p).astype(float) for n, p in ((12, 0.9), (40, 0.5), (25, 0.95))]
    values = np.concatenate(groups)[:, None]
    strata = np.split(np.arange(77), [12, 52])
    bands = bca(values, strata, seed=3, level=0.95)

    def macro(*samples: np.ndarray, axis: int = -1) -> np.ndarray:
        return sum(sample.mean(axis=axis) for sample in samples) / len(samples)

    expected = stats.bootstrap(
        groups, macro, n_resamples=9999, vectorized=True, rng=np.random.default_rng(0)
    ).confidence_interval
    result = (bands.low[0], bands.high[0])
    assert result == pytest.approx((expected.low, expected.high), abs=0.006)
    # Skewed to the left, as scores near one are; a percentile interval would be less so.
    assert bands.value[0] - result[0] > result[1] - bands.value[0]


def test_one_stratum_is_none() -> None:
    values = (np.random.default_rng(2).random((60, 3)) < 0.6).astype(float)
    whole, one = (bca(values, s, seed=0, level=0.95) for s in (None, [np.arange(60)]))
    assert np.array_equal(whole.low, one.low) and np.array_equal(whole.high, one.high)


def test_constant_strata_have_no_bootstrap_interval() -> None:
    values = np.repeat([[1.0], [0.0]], 5, axis=0)
    bands = bca(values, [np.arange(5), np.arange(5, 10)], seed=0, level=0.95)
    assert np.isnan(bands.low[0]) and bands.value[0] == 0.5
