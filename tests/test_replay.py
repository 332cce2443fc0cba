"""A strategy driven against logged rows: what is answered, and what is missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest

from harness.engine.searches import Search
from harness.records import Ability, Candidate, Draw, Feedback, Prompt, Task
from harness.replay import LoggedAnswers, MissingDraw, Replayed, replay
from strategies.base import Rounds, Strategy, best


@dataclass(frozen=True)
class Twice(Strategy):
    """Draws twice at once, then once with feedback on the better of the two."""

    name: ClassVar[str] = "twice"

    def needs(self) -> frozenset[Ability]:
        return frozenset({Ability.FEEDBACK})

    def search(self, task: Task) -> Rounds:
        opening: Sequence[Candidate] = yield [Draw(0), Draw(1, settings={"guidance_scale": 1})]
        first = best(opening)
        assert first is not None and first.verdict is not None
        feedback = (Feedback(first.id, first.verdict.sentence),)
        second = yield [Draw(2, feedback, "again")]
        return best([*opening, *second])


def row(index: int, **changes: Any) -> dict[str, Any]:
    return {
        "draw_index": index,
        "draw_id": f"id{index}",
        "text": None,
        "settings": "{}",
        "feedback": [],
        "noise_index": None,
        "noise_turns": None,
        "start": None,
        "stop": None,
        "image": f"image{index}",
        "accepted": index == 2,
        "judge_score": float(index),
        "judge_sentence": f"sentence {index}",
        "error_role": None,
        "error": None,
        "round": 1,
        **changes,
    }


def logged() -> list[dict[str, Any]]:
    return [
        row(0),
        row(1, settings='{"guidance_scale":1}'),
        row(2, feedback=[{"draw_id": "id1", "sentence": "sentence 1"}], text="again", round=2),
    ]


def replayed(rows: list[dict[str, Any]], budget: int = 3, **options: Any) -> Replayed:
    search = Search(Twice(), Prompt("p", "a cat"), 0, budget=budget, run_seed=0)
    return replay(search, LoggedAnswers(rows, **options))


def test_a_strategy_asks_for_its_logged_draws_again() -> None:
    whole = Replayed((0, 1, 2), (), (), 2, 2, None)
    assert replayed(logged()) == whole == replayed(logged(), same_rounds=True)
    failed = row(2, feedback=logged()[2]["feedback"], text="again", round=2, error_role="judge",
                 error="no memory", accepted=None)  # fmt: skip
    assert replayed([*logged()[:2], failed]) == replace(whole, selected=1)


def _settings(spelled: str) -> Callable[[list[dict[str, Any]]], None]:
    return lambda rows: rows[1].update(settings=spelled)


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        (lambda rows: rows.pop(1), MissingDraw(1)),
        (_settings("{}"), MissingDraw(1, "settings")),
        (_settings('{"guidance_scale":1.0}'), MissingDraw(1, "settings")),
        (_settings('{"guidance_scale":true}'), MissingDraw(1, "settings")),
        (_settings("no JSON"), MissingDraw(1, "settings")),
        (_settings("3"), MissingDraw(1, "settings")),
        (lambda rows: rows[0].update(text="a dog"), MissingDraw(0, "text")),
    ],
)
def test_a_draw_that_is_not_the_logged_one_is_missing(
    change: Callable[[list[dict[str, Any]]], Any], missing: MissingDraw
) -> None:
    rows = logged()
    change(rows)
    result = replayed(rows)
    assert result.missing == (missing,) and result.selected is None
    # The other draw of the round was asked for; the third belongs to a round that never came.
    assert result.asked == (1 - missing.index,) and result.surplus == (2,)


def test_feedback_counts_and_so_does_the_round_if_it_is_asked_for() -> None:
    other = logged()
    other[2]["feedback"] = [{"draw_id": "id1", "sentence": "another"}]
    assert replayed(other).missing == (MissingDraw(2, "feedback"),)
    late = logged()
    late[2]["round"] = 3
    assert not replayed(late).missing
    assert replayed(late, same_rounds=True).missing == (MissingDraw(2, "round"),)
    late[2]["round"] = None  # logs did not always have it
    assert not replayed(late, same_rounds=True).missing


def test_answers_serve_several_replays_and_hold_each_to_its_own_draws() -> None:
    answers = LoggedAnswers(logged())
    prompt = Prompt("p", "a cat")
    small = Search(Twice(), prompt, 0, budget=2, run_seed=0)
    assert "beyond its budget" in (replay(small, answers).error or "")
    whole = Search(Twice(), prompt, 0, budget=3, run_seed=0)
    assert replay(whole, answers).selected == 2
    assert isinstance(answers.answer(Draw(0, text="a dog"), 1), MissingDraw)
    again = answers.answer(Draw(0), 1)
    assert isinstance(again, Candidate) and again.image == "image0"
