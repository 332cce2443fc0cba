"""The promises of a strategy. Subclass `StrategyContract` to hold yours against it.

class TestMine(StrategyContract):
    def strategy(self) -> Strategy:
        return Mine(rounds=3)
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from harness.engine.searches import Search, drive
from harness.records import Candidate, Draw, Prompt, Question, Reply, Verdict
from harness.seeds import canonical_json
from strategies.base import Strategy

World = Callable[[Draw], Candidate]

STEPS = 8
"""Steps of a whole draw in a played search."""


def world(seed: int, *, accept: float = 0.2, fail: float = 0.0) -> World:
    """Return what answers draws as models might: by a hash of all of a draw, always the same way.

    Args:
        seed: Of the hash; another one is another world.
        accept: Share of the images that the judge accepts.
        fail: Share of the draws that fail.
    """

    def answer(draw: Draw) -> Candidate:
        fields = [
            seed,
            {field.name: _plain(getattr(draw, field.name)) for field in dataclasses.fields(draw)},
        ]
        state = hashlib.sha256(canonical_json(fields).encode()).digest()
        identity = state.hex()[:32]
        if state[0] / 256 < fail:
            return Candidate(draw, identity, None, None, "scripted failure")
        score = state[1] / 256
        accepted = state[2] / 256 < accept
        sentence = "" if accepted else f"There is no thing {state[3] % 3} in image."
        return Candidate(draw, identity, f"image{identity}", Verdict(accepted, score, sentence))

    return answer


def _plain(value: Any) -> Any:
    """Return a field of a draw as JSON-like data, so that none that is added later is left out."""
    return TypeAdapter(Any).dump_python(value, mode="json")


def play(
    strategy: Strategy, budget: int, answer: World, seed: int = 0, steps: int = STEPS
) -> tuple[Search, list[Draw], list[Candidate]]:
    """Run one search to its end; return it, its draws and their answers."""
    search = Search(
        strategy,
        Prompt("p", "a photo of a cat"),
        0,
        budget=budget,
        run_seed=seed,
        settings={"num_inference_steps": steps},
    )
    draws: list[Draw] = []
    candidates: list[Candidate] = []

    def answered(item: Draw | Question) -> Candidate | Reply:
        if isinstance(item, Question):
            return Reply(item, f"reply {item.index} to {item.text}")
        draws.append(item)
        candidates.append(answer(item))
        return candidates[-1]

    drive(search, search.start(), answered)
    return search, draws, candidates


# A contract's tests are inherited, so one test function runs as a method of several classes.
# A machine under load takes long over anything, so nothing here is held to a time.
inherited = settings(suppress_health_check=[HealthCheck.differing_executors], deadline=None)


class StrategyContract:
    """Checks that hold for any strategy, budget and luck."""

    def strategy(self) -> Strategy:
        """The strategy, with the options it is tested with."""
        raise NotImplementedError("return the strategy to be tested")

    @inherited
    @given(
        budget=st.integers(1, 12),
        luck=st.integers(0, 10**6),
        accept=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
        fail=st.sampled_from([0.0, 0.3]),
    )
    def test_ends_within_budget_with_a_candidate_it_was_sent(
        self, budget: int, luck: int, accept: float, fail: float
    ) -> None:
        search, draws, candidates = play(
            self.strategy(), budget, world(luck, accept=accept, fail=fail)
        )
        assert search.ended
        assert draws and search.steps <= budget * STEPS
        if any(candidate.ok for candidate in candidates):
            assert search.error is None
            assert search.selected in candidates and search.selected.ok
        else:
            assert search.selected is None

    @inherited
    @given(budget=st.integers(1, 8), luck=st.integers(0, 10**6))
    def test_same_answers_same_search(self, budget: int, luck: int) -> None:
        one, draws, _ = play(self.strategy(), budget, world(luck))
        two, again, _ = play(self.strategy(), budget, world(luck))
        assert draws == again and one.selected == two.selected

    @inherited
    @given(
        budget=st.integers(1, 12),
        luck=st.integers(0, 10**6),
        accept=st.sampled_from([0.1, 0.5]),
        fail=st.sampled_from([0.0, 0.3]),
    )
    def test_goes_the_same_under_a_smaller_budget_if_it_says_so(
        self, budget: int, luck: int, accept: float, fail: float
    ) -> None:
        if not self.strategy().budget_only_limits:
            return
        answer = world(luck, accept=accept, fail=fail)
        search, draws, _ = play(self.strategy(), budget, answer)
        for smaller in range(len(draws), budget):
            other, same, _ = play(self.strategy(), smaller, answer)
            assert same == draws
            assert (other.selected, other.error) == (search.selected, search.error)

    @inherited
    @given(budget=st.integers(1, 6))
    def test_survives_every_draw_failing(self, budget: int) -> None:
        search, _, _ = play(self.strategy(), budget, world(0, fail=1.1))
        assert search.ended and search.selected is None
        assert search.error is not None and "every draw failed" in search.error

    def test_has_a_name_and_says_what_it_is_for(self) -> None:
        strategy = self.strategy()
        assert strategy.name and strategy.name == strategy.name.lower()
        assert type(strategy).__doc__ and type(strategy).search.__doc__

    def test_is_immutable(self) -> None:
        with pytest.raises(AttributeError):
            self.strategy().name = "other"  # type: ignore[misc]
