"""The population of particle steering against arrays, over rewards of any kind."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies.steering import Population
from tests.reference.steering import Particles

NAMES = {"diff": "diff", "max": "max", "add": "sum", "rt": "reward"}
LUCK = {
    "spread": lambda rng, n: rng.normal(0, 2, n),
    "ties": lambda rng, n: rng.integers(-1, 2, n),
    "equal": lambda rng, n: np.full(n, rng.normal()),
    "huge": lambda rng, n: rng.normal(0, 1e30, n),
    "none": lambda rng, n: np.where(rng.random(n) < 0.5, -np.inf, rng.normal(0, 1, n)),
    "endless": lambda rng, n: rng.choice([-np.inf, np.inf, 0.0], n),
    "lost": lambda rng, n: rng.normal(-50, 5, n),
}


@settings(deadline=None)
@given(
    size=st.integers(1, 16), potential=st.sampled_from(sorted(NAMES)), adaptive=st.booleans(),
    temperature=st.sampled_from([1e-3, 0.5, 2.0, 10.0, 40.0]), first=st.sampled_from([0.0, -10.0]),
    kinds=st.lists(st.sampled_from(sorted(LUCK)), min_size=1, max_size=8),
    seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_a_population_weighs_as_arrays_do(
    size: int, potential: str, adaptive: bool, temperature: float, first: float, kinds: list[str],
    seed: int,
) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)
    own = Population(size, NAMES[potential], temperature, first, adaptive, official=True)  # type: ignore[arg-type]
    other = Particles(
        np.full(size, first, np.float32), np.ones(size, np.float32), potential,
        np.float32(temperature), adaptive,
    )  # fmt: skip
    for place, kind in enumerate(kinds):
        rewards = np.asarray(LUCK[kind](rng, size), np.float32)  # type: ignore[no-untyped-call]
        is_last = place == len(kinds) - 1
        expected, worth = other.weigh(rewards, is_last)
        weights = own.look(rewards.tolist(), is_last=is_last)
        stays = (adaptive or is_last) and worth >= size / 2
        if abs(worth - size / 2) > 1e-4 * size or not (adaptive or is_last):
            assert (weights is None) == stays
        if weights is not None:
            assert weights == pytest.approx(expected.tolist(), rel=1e-5, abs=1e-44)
            indices = rng.choice(size, size, p=np.array(weights) / sum(weights))
            own.draw(indices.tolist(), weights)
            other.resample(expected, indices)
        assert own.rewards == pytest.approx(other.remembered.tolist(), rel=1e-6, nan_ok=True)
        assert own.products == pytest.approx(other.product.tolist(), rel=1e-5, abs=1e-44)


def test_the_whole_of_a_line_s_weights_is_by_its_final_reward() -> None:
    """Whether or when particles were drawn anew: weights of the lookings multiply to exp(λR)."""
    rng = np.random.default_rng(0)
    for potential in ("max", "sum", "reward", "diff"):
        own = Population(4, potential, 0.5, adaptive=True)  # type: ignore[arg-type]
        rewards = rng.normal(0, 0.2, (3, 4))
        for place in range(2):
            assert own.look(rewards[place].tolist(), is_last=False) is None
        sharp = [9.0, *rewards[2][1:]]
        weights = own.look(sharp, is_last=True)
        assert weights == pytest.approx([np.exp(0.5 * reward) for reward in own.rewards])
