"""A strategy that misbehaves is stopped, with an error that says what it did."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from harness.engine import searches
from harness.engine.searches import Search
from harness.records import Ability, Candidate, Draw, Feedback, Prompt, Task, Verdict
from strategies.base import Rounds, Strategy


@dataclass(frozen=True)
class Scripted(Strategy):
    name = "scripted"

    def needs(self) -> frozenset[Ability]:
        return frozenset(Ability)

    script: Callable[[Task], Rounds] = lambda task: iter(())  # type: ignore[assignment, return-value]

    def search(self, task: Task) -> Rounds:
        return self.script(task)


def answer(draw: Draw) -> Candidate:
    return Candidate(draw, f"id{draw.index}", "image", Verdict(False, 0.5))


def drive(script: Any, budget: int = 4) -> Search:
    search = Search(
        Scripted(script=script),
        Prompt("p", "text"),
        0,
        budget=budget,
        run_seed=0,
    )
    waiting = list(search.start())
    while waiting:
        waiting += search.answer(answer(waiting.pop(0)))
    return search


def beyond(task: Task) -> Rounds:
    yield [Draw(i) for i in range(task.budget + 2)]
    return None


def drip(task: Task) -> Rounds:
    index = 0
    while True:
        yield [Draw(index)]
        index += 1


def nothing(task: Task) -> Rounds:
    while True:
        yield []


def twice(task: Task) -> Rounds:
    yield [Draw(0)]
    yield [Draw(0)]
    return None


def twice_at_once(task: Task) -> Rounds:
    yield [Draw(1), Draw(1)]
    return None


def negative(task: Task) -> Rounds:
    yield [Draw(-1)]
    return None


def foreign(task: Task) -> Rounds:
    yield [Draw(0)]
    return answer(Draw(3))


def forged(task: Task) -> Rounds:
    (candidate,) = yield [Draw(0)]
    return Candidate(candidate.draw, candidate.id, candidate.image, Verdict(True, 1.0))


def no_candidate(task: Task) -> Rounds:
    yield [Draw(0)]
    return "the red one"  # type: ignore[return-value]


def no_draws(task: Task) -> Rounds:
    yield "a cat, please"  # type: ignore[misc]
    return None


def foreign_feedback(task: Task) -> Rounds:
    yield [Draw(0, (Feedback("elsewhere", "no cat"),))]
    return None


def lone_surrogate(task: Task) -> Rounds:
    yield [Draw(0, text="\ud800")]
    return None


def number_for_text(task: Task) -> Rounds:
    yield [Draw(0, text=5)]  # type: ignore[arg-type]
    return None


def half_an_index(task: Task) -> Rounds:
    yield [Draw(0.5)]  # type: ignore[arg-type]
    return None


def huge_index(task: Task) -> Rounds:
    yield [Draw(2**40)]
    return None


def not_a_number(task: Task) -> Rounds:
    yield [Draw(0, settings={"guidance_scale": float("nan")})]
    return None


def object_for_setting(task: Task) -> Rounds:
    yield [Draw(0, settings={"guidance_scale": object()})]  # type: ignore[dict-item]
    return None


def speechless(task: Task) -> Rounds:
    (candidate,) = yield [Draw(0)]
    yield [Draw(1, (Feedback(candidate.id, None),))]  # type: ignore[arg-type]
    return None


def leaves(task: Task) -> Rounds:
    yield [Draw(0)]
    raise SystemExit(3)


def raises(task: Task) -> Rounds:
    yield [Draw(0)]
    raise KeyError("oops")


def gives_up(task: Task) -> Rounds:
    yield [Draw(0)]
    return None


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (beyond, "asked for 2 draw(s) beyond its budget of 4"),
        (drip, "asked for 1 draw(s) beyond its budget of 4"),
        (nothing, "asked for no draws"),
        (twice, "asked for draw 0 twice"),
        (twice_at_once, "asked for draw 1 twice"),
        (negative, "indices start at 0"),
        (foreign, "returned a candidate that it was not sent"),
        (forged, "returned a candidate that it was not sent"),
        (no_candidate, "returned a candidate that it was not sent"),
        (no_draws, "yielded str instead of a list of draws"),
        (foreign_feedback, "'elsewhere', which is no draw of this search"),
        (lone_surrogate, "with '\\ud800' for a text"),
        (number_for_text, "with 5 for a text"),
        (half_an_index, "whole numbers of 32 bits"),
        (huge_index, "whole numbers of 32 bits"),
        (not_a_number, "unusable settings"),
        (object_for_setting, "unusable settings"),
        (speechless, "with None for a text"),
        (leaves, "raised SystemExit: 3"),
        (raises, "raised KeyError"),
        (gives_up, "returned nothing although it has candidates"),
    ],
)
def test_misbehaviour_ends_the_search_with_an_error(script: Any, message: str) -> None:
    search = drive(script)
    assert search.ended and search.selected is None
    assert search.error is not None and message in search.error
    assert "strategy 'scripted'" in search.error


def test_feedback_that_a_strategy_does_not_say_it_needs_ends_its_search() -> None:
    """Plans, and draws taken over from other runs, rest on what it says."""

    @dataclass(frozen=True)
    class Silent(Scripted):
        def needs(self) -> frozenset[Ability]:
            return frozenset()

    def script(task: Task) -> Rounds:
        (candidate,) = yield [Draw(0)]
        yield [Draw(1, (Feedback(candidate.id, "no cat"),))]
        return candidate

    search = Search(Silent(script=script), Prompt("p", "t"), 0, budget=4, run_seed=0)
    search.answer(answer(next(iter(search.start()))))
    assert search.ended and "does not say that it needs" in (search.error or "")
    assert drive(script).error is None


@pytest.mark.parametrize("asleep", [True, False])
def test_a_strategy_that_never_comes_back_is_stopped(
    asleep: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def endless(task: Task) -> Rounds:
        yield [Draw(0)]
        while True:
            time.sleep(60 if asleep else 0)

    started = time.monotonic()
    monkeypatch.setattr(searches, "STEP_SECONDS", 0.2)
    search = drive(endless)
    assert search.ended and "took more than 0.2 s" in (search.error or "")
    assert time.monotonic() - started < 5


def test_answers_come_back_in_the_order_asked_whatever_the_order_of_arrival() -> None:
    got: list[int] = []

    def script(task: Task) -> Rounds:
        candidates = yield [Draw(2), Draw(0), Draw(1)]
        got.extend(c.draw.index for c in candidates)
        return candidates[0]

    search = Search(Scripted(script=script), Prompt("p", "t"), 0, budget=4, run_seed=0)
    draws = list(search.start())
    for draw in reversed(draws):
        search.answer(answer(draw))
    assert got == [2, 0, 1] and search.ended


def test_an_answer_nobody_waits_for_is_the_engines_mistake() -> None:
    search = Search(Scripted(script=gives_up), Prompt("p", "t"), 0, budget=4, run_seed=0)
    search.start()
    with pytest.raises(ValueError, match="not waiting"):
        search.answer(answer(Draw(7)))


def test_a_strategy_never_sees_the_answer_key() -> None:
    seen: list[Task] = []

    def script(task: Task) -> Rounds:
        seen.append(task)
        (candidate,) = yield [Draw(0)]
        return candidate

    search = Search(
        Scripted(script=script), Prompt("p", "t", "tag", {"secret": 1}), 0, budget=4, run_seed=0
    )
    search.answer(answer(next(iter(search.start()))))
    assert {name for name in Task.__dataclass_fields__} == {"prompt", "budget", "seed", "steps"}
    assert "secret" not in repr(seen)
