from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.statistics.intervals import macro_interval, mean_interval, wilson


def test_wilson_agrees_with_published_values() -> None:
    # Newcombe (1998), Statistics in Medicine 17:857, table I, method 3.
    for (successes, n), (low, high) in {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0.0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }.items():
        assert wilson(successes, n) == pytest.approx((low, high), abs=6e-5)


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=60))
def test_an_interval_holds_its_mean_and_is_reproducible(values: list[float]) -> None:
    estimate = mean_interval(values)
    assert 0 <= estimate.low <= estimate.value + 1e-12
    assert estimate.value <= estimate.high + 1e-12 and estimate.high <= 1
    assert estimate.value == pytest.approx(np.mean(values))
    assert mean_interval(values) == estimate


@pytest.mark.parametrize("values", [[1.0] * 50, [0.0] * 50, [1.0], [0.0, 1.0]])
def test_where_bca_does_not_exist_wilson_stands_in_and_says_so(values: list[float]) -> None:
    estimate = mean_interval(values)
    assert estimate.method == "Wilson" and estimate.low < estimate.high


def test_macro_is_the_mean_of_the_group_means() -> None:
    rng = np.random.default_rng(0)
    groups = [list(rng.integers(0, 2, n).astype(float)) for n in (10, 100, 40)]
    estimate = macro_interval(groups)
    assert estimate.value == pytest.approx(np.mean([np.mean(g) for g in groups]))
    assert estimate.low < estimate.value < estimate.high
    assert macro_interval([[1.0] * 5, [0.0] * 5]).method == "Wilson"
    for wrong in ([], [[1.0], []]):
        with pytest.raises(ValueError, match="group"):
            macro_interval(wrong)


@pytest.mark.parametrize("p", [0.3, 0.8])
def test_the_intervals_cover_as_often_as_they_say(p: float) -> None:
    rng = np.random.default_rng(7)
    runs = 300
    hits = macro_hits = 0
    sizes = (20, 20, 25, 25, 30, 30)
    for _ in range(runs):
        values = rng.random(sum(sizes)) < p
        estimate = mean_interval(values.astype(float).tolist())
        hits += estimate.low <= p <= estimate.high
        groups = np.split(values.astype(float), np.cumsum(sizes)[:-1])
        macro = macro_interval([g.tolist() for g in groups])
        macro_hits += macro.low <= p <= macro.high
    # Three standard errors of a coverage of 0.95 over 300 runs are 0.038.
    assert 0.91 <= hits / runs <= 0.99
    assert 0.91 <= macro_hits / runs <= 0.99
