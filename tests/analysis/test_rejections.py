"""Success after so many rejections, and what no draw solves, on logs whose answer is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.analysis.rejections import (
    FEEDBACK,
    FRESH,
    ending,
    ends_table,
    payoffs,
    rejections_table,
    sentences,
    successes,
)
from harness.runs.logged_run import LoggedRun
from tests.analysis.conftest import MakeRun


def logged(run: LoggedRun, draws: list[str], *, feedback: bool) -> LoggedRun:
    """A run of searches as they are spelled: one letter a draw, `selected` its last or none.

    A: accepted and right; a: accepted and wrong; R: rejected and right; r: rejected and wrong; f:
    rejected, and the scorer failed; g: the generator failed.
    """
    letters = np.array([list(row.ljust(run.index.shape[1], " ")) for row in draws])
    there = letters != " "
    right = np.isin(letters, ["A", "R"])
    last = there.cumsum(axis=1).argmax(axis=1)
    after_first = np.arange(letters.shape[1]) > 0
    return replace(
        run,
        searches=run.searches.assign(selected=last),
        index=np.where(there, np.arange(letters.shape[1]), -1),
        answered=there & (letters != "g"),
        accepted=np.isin(letters, ["A", "a"]),
        with_feedback=there & after_first & feedback,
        correct=right,
        value=right.astype(float),
        scored=there & ~np.isin(letters, ["f", "g"]),
    )


@pytest.fixture
def empty(make_run: MakeRun) -> LoggedRun:
    return make_run("r", budget=4, benchmark_options={"size": "6"})


def test_a_draw_after_k_rejections_is_counted_by_hand(empty: LoggedRun) -> None:
    run = logged(empty, ["A", "a", "rA", "rra", "rfrR", "gA"], feedback=True)
    table = rejections_table([run], ["r"])
    rows = {(row["draw"], row["rejections"]): row for row in table.to_dict("records")}
    assert set(rows) == {(FRESH, 0), (FEEDBACK, 1), (FEEDBACK, 2), (FEEDBACK, 3)}
    assert rows[FRESH, 0]["searches"] == 5 and rows[FRESH, 0]["success"] == pytest.approx(1 / 5)
    second = rows[FEEDBACK, 1]  # A, r; what the scorer failed on is neither
    assert (second["searches"], second["prompts"]) == (2, 2)
    assert second["success"] == pytest.approx(1 / 2)
    assert rows[FEEDBACK, 2]["success"] == 0 and rows[FEEDBACK, 2]["searches"] == 2
    assert rows[FEEDBACK, 3]["success"] == 1 and rows[FEEDBACK, 3]["searches"] == 1
    assert (table["low"] <= table["success"]).all() and (table["success"] <= table["high"]).all()
    # A failed draw is no rejection: nothing after it counts.
    assert np.isnan(successes(run, FEEDBACK)[5, 1])


def test_unsolved_prompts_are_told_from_wrong_choices(empty: LoggedRun) -> None:
    run = logged(empty, ["A", "rrrr", "rra", "Ra", "Rrrr", "f"], feedback=False)
    (row,) = ends_table([run], ["r"]).to_dict("records")
    # The search that nobody could score is in neither.
    assert (row["prompts"], row["searches"], row["wrong"]) == (5, 5, 4)
    assert row["unsolved"] == pytest.approx(2 / 5) and row["low"] < 2 / 5 < row["high"]
    assert (row["wrong_accepted"], row["right_rejected"], row["none_right"]) == (2, 1, 1)
    assert "wrong acceptances hold the end of its curve down" in ending(row)


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("rate", "output"),
    [(0.8, "Feedback pays"), (0.3, "not differ significantly"), (0.02, "Feedback costs")],
)
def test_the_sentence_follows_the_rates_that_made_the_log(
    make_run: MakeRun, rate: float, output: str
) -> None:
    rng = np.random.default_rng(5)
    empty = make_run("many", budget=2, benchmark_options={"size": "240"})

    def made(second: float, feedback: bool) -> LoggedRun:
        draws = ["r" + ("A" if rng.random() < second else "r") for _ in range(240)]
        return logged(empty, draws, feedback=feedback)

    runs, names = [made(rate, True), made(0.3, False)], ["reflect", "best-of-n"]
    (payoff,) = payoffs(runs, names)
    assert (payoff.run, payoff.other, payoff.prompts) == ("reflect", "best-of-n", 240)
    assert payoff.gain.low <= payoff.success - payoff.fresh <= payoff.gain.high
    paying, end = sentences([payoff], ends_table(runs, names))
    assert output in paying and "a fresh one of best-of-n" in paying
    assert "prompts that no draw solves hold the end of its curve down" in end


def test_without_feedback_or_without_fresh_draws_there_is_nothing_to_hold(
    empty: LoggedRun,
) -> None:
    fresh = logged(empty, ["rA"] * 6, feedback=False)
    fed = logged(empty, ["rA"] * 6, feedback=True)
    at_once = logged(empty, ["A"] * 6, feedback=False)
    assert payoffs([fresh], ["a"]) == [] and payoffs([fed], ["a"]) == []
    assert payoffs([fed, at_once], ["a", "b"]) == [] and len(payoffs([fed, fresh], ["a", "b"])) == 1


@pytest.mark.parametrize(
    ("draws", "reason"),
    [
        (["rRr", "rRr", "rA", "rRr", "rr", "ra"], "rejections of right images hold"),
        (["rrr", "rr", "rA", "rRr", "rr", "ra"], "prompts that no draw solves hold"),
        (["rA"] * 6, "no search of reflect selected a wrong image."),
    ],
)
def test_the_end_of_a_curve_has_its_most_frequent_reason(
    empty: LoggedRun, draws: list[str], reason: str
) -> None:
    (row,) = ends_table([logged(empty, draws, feedback=True)], ["reflect"]).to_dict("records")
    assert reason in ending(row)
