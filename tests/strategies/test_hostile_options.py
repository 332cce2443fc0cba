"""Any options, steps, budget and luck: refused before a draw, or searched within the budget."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.options import build
from harness.records import Candidate, Draw, Verdict
from harness.registry import STRATEGIES
from harness.testing.strategies import World, play, world
from strategies.base import Strategy

TEXTS = ["", "0.25", "0.25,0.5", "0.5,0.25", "1,2", "3,6", "0.01,0.02,0.99", "nan", "inf", "a",
         "-1", "0.25:0.5,0.5:0.25", "1.5:2", "0.5:1", "0.1:0.01", "0.3:0.5,0.31:0.4", "0:0",
         "0.5:nan", "0.9:1,0.95:1,0.99:1", "[]"]  # fmt: skip
NUMBERS = [0, 1, 2, 3, 7, -1, 0.0, 0.1, 0.5, 0.99, 1.0, 1.5, -0.5, -1.0, 1e-12, 1e12, float("nan"),
           float("inf")]  # fmt: skip


def scripted(kind: str, luck: int) -> World:
    """Return a world of one kind: usual, all scores equal or extreme, the judge or all failing."""
    usual = world(luck, accept=0.0 if kind == "extreme" else 0.2, fail=0.3)

    def answer(draw: Draw) -> Candidate:
        candidate = usual(draw)
        image = candidate.image or "image"
        if kind == "failing":
            return dataclasses.replace(candidate, image=None, verdict=None, error="scripted")
        if kind == "without a judge":
            return dataclasses.replace(candidate, image=image, verdict=None, error="scripted")
        if candidate.verdict is None or kind == "usual":
            return candidate
        score = 0.5 if kind == "ties" else (-1e300, 0.0, 1e300)[int(candidate.id[:4], 16) % 3]
        return dataclasses.replace(candidate, verdict=Verdict(False, score))

    return answer


def options_of(strategy: type[Strategy]) -> st.SearchStrategy[dict[str, Any]]:
    """Return what draws values for some of a strategy's options, good ones and others."""
    hints = get_type_hints(strategy)
    values: dict[str, st.SearchStrategy[Any]] = {}
    for field in dataclasses.fields(strategy):
        if get_origin(hints[field.name]) is Literal:
            values[field.name] = st.sampled_from([*get_args(hints[field.name]), "other"])
        elif isinstance(field.default, bool):
            values[field.name] = st.booleans()
        else:
            texts = isinstance(field.default, str)
            values[field.name] = st.sampled_from(TEXTS) if texts else st.sampled_from(NUMBERS)
    return st.fixed_dictionaries({}, optional=values)


BUILT_IN = [name for name in STRATEGIES.names() if ":" not in name]


@pytest.mark.sampled(5)
@pytest.mark.parametrize("name", BUILT_IN)
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_whatever_is_asked_is_refused_or_done_within_budget(name: str, data: st.DataObject) -> None:
    kind = STRATEGIES.get(name)
    steps = data.draw(st.sampled_from([1, 2, 7, 8, 50]), "steps")
    budget = data.draw(st.sampled_from([1, 2, 3, 8]), "budget")
    try:
        strategy = build(kind, data.draw(options_of(kind), "options"), flag="-S")
        strategy.check(steps)
    except (UsageError, ValueError):
        return
    luck = data.draw(st.integers(0, 99), "luck")
    worlds = ["usual", "ties", "extreme", "failing", "without a judge"]
    answer = scripted(data.draw(st.sampled_from(worlds), "world"), luck)
    search, draws, candidates = play(strategy, budget, answer, steps=steps)
    assert search.ended and draws and search.steps <= budget * steps
    if any(candidate.ok for candidate in candidates):
        assert search.error is None
        assert search.selected in candidates and search.selected.ok
    else:
        assert search.selected is None and "every draw failed" in (search.error or "")
    again, same, _ = play(strategy, budget, answer, steps=steps)
    assert draws == same and again.selected == search.selected
