"""Curves of real runs (of stub models): what they agree with, and what they refuse to guess."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest

from harness.analysis.comparison import comparison_table
from harness.analysis.curves import ACCEPTED, ORACLE, RANDOM, SCORE, STRATEGY, run_curves
from harness.analysis.protocol import caption
from harness.analysis.tables import curve_table, gap_table
from harness.engine import searches
from harness.engine.searches import timed_out
from harness.errors import HarnessError, Interrupted, UsageError
from harness.records import Candidate, Draw, Task
from harness.replay import Replayed
from harness.runs.loading import load_run
from harness.runs.replay import budget_grid, replay
from harness.runs.summary import summarise
from strategies.base import Rounds, Strategy, best
from tests.analysis.conftest import MakeRun
from tests.reference.test_report import differences
from tests.runs import run, stub_plan
from tests.stubs import Faults, StubJudge

pytestmark = pytest.mark.usefixtures("import_stubs")


@dataclass(frozen=True)
class Wide(Strategy):
    """Asks for draws far apart, further apart the larger the budget."""

    name: ClassVar[str] = "wide"

    def search(self, task: Task) -> Rounds:
        seen: list[Candidate] = []
        seen += yield [Draw(0)]
        if task.budget > 1:
            seen += yield [Draw(100 * task.budget)]
        return best(seen)


@dataclass(frozen=True)
class Lowest(Strategy):
    """Takes what the judge likes least: its own rule, in one round."""

    name: ClassVar[str] = "lowest"

    def search(self, task: Task) -> Rounds:
        seen: Sequence[Candidate] = yield [Draw(i) for i in range(task.budget)]
        return min((c for c in seen if c.ok), key=lambda c: c.score, default=None)


@dataclass(frozen=True)
class Stumbling(Strategy):
    """Draws twice, one after the other; for two prompts it fails before its first draw."""

    name: ClassVar[str] = "stumbling"

    def search(self, task: Task) -> Rounds:
        if task.prompt in ("thing 3", "thing 6"):
            raise KeyError(task.prompt)
        seen: list[Candidate] = []
        for index in range(2):
            seen += yield [Draw(index)]
        return best(seen)


@dataclass(frozen=True)
class Drowsy(Strategy):
    """Draws twice, one after the other; for one prompt it may think for long in between."""

    name: ClassVar[str] = "drowsy"
    seconds: ClassVar[float] = 0.0

    def search(self, task: Task) -> Rounds:
        seen: list[Candidate] = []
        seen += yield [Draw(0)]
        if task.prompt == "thing 3":
            time.sleep(self.seconds)
        seen += yield [Draw(1)]
        return best(seen)


STUMBLING = "tests.analysis.test_curves:Stumbling"
DROWSY = "tests.analysis.test_curves:Drowsy"
WIDE = "tests.analysis.test_curves:Wide"
LOWEST = "tests.analysis.test_curves:Lowest"


def test_the_last_point_is_what_the_run_reached(make_run: MakeRun, tmp_path: Path) -> None:
    result = make_run("r", budget=6, replicates=2, seed=2)
    top = result.judge_score == result.judge_score.max(axis=1, keepdims=True)
    assert (top.sum(axis=1) == 1).all(), "with ties the curve would average over the tied"
    summary = summarise(tmp_path / "r")
    assert summary.micro and summary.macro
    curves = run_curves(result)
    assert curves.own.selector == SCORE and curves.own.basis == "subsets" and not curves.notes
    table = curve_table([curves], ["r"])
    last = table[(table.selector == SCORE) & (table.budget == 6)].set_index(["kind", "tag"])
    assert last.loc[("micro", ""), "score"] == pytest.approx(summary.micro.value)
    assert last.loc[("micro", ""), "low"] == pytest.approx(summary.micro.low)
    assert last.loc[("macro", ""), "score"] == pytest.approx(summary.macro.value)
    assert last.loc[("tag", "odd"), "score"] == pytest.approx(summary.tags["odd"][0].value)
    assert result.scores().mean() == pytest.approx(summary.micro.value)
    # Costs: 6 draws of 4 NFE and 1 GFLOP; a judge and a scorer of 1 MFLOP each.
    assert last["draws"].tolist() == [6.0] * 4 and last["nfe"].tolist() == [24.0] * 4
    assert last["tflops_generator"].iloc[0] == pytest.approx(6e-3)
    assert last["tflops_search"].iloc[0] == pytest.approx(6e-3 + 6e-6)
    assert last["tflops"].iloc[0] == pytest.approx(6e-3 + 12e-6)
    assert last["device_seconds"].iloc[0] > last["device_seconds_generator"].iloc[0] > 0


def test_ties_that_move_the_last_point_are_said(make_run: MakeRun) -> None:
    result = make_run("r", budget=6)
    one = result.index == 0
    result = replace(
        result, judge_score=np.where(result.answered, 0.5, -np.inf), correct=one, value=one * 1.0
    )
    result.searches["selected"] = 0  # the earliest of equals, and the only correct one
    curves = run_curves(result)
    assert result.scores().mean() == 1 and curves.own.scores[:, -1] == pytest.approx(1 / 6)
    (note,) = curves.notes
    assert "at budget 6" in note and "micro 1.000" in note and note.endswith("0.167")


def test_selectors_are_ordered_as_they_must_be(make_run: MakeRun) -> None:
    curves = run_curves(make_run("r", budget=8))
    scores = {c.selector: c.scores.mean(axis=0) for c in curves.curves}
    assert (np.diff(scores[ORACLE]) >= -1e-12).all()
    assert (scores[ORACLE] >= scores[SCORE] - 1e-12).all()
    assert np.ptp(scores[RANDOM]) < 1e-12
    for selector in (SCORE, ACCEPTED, ORACLE):
        assert scores[selector][0] == pytest.approx(scores[RANDOM][0])
    stopping = curves.get(ACCEPTED)
    assert stopping is not None
    assert stopping.costs["draws"][0, -1] < 8 and stopping.costs["draws"][0, 0] == 1


def test_a_shared_noise_subset_is_a_smaller_run(make_run: MakeRun) -> None:
    """A run at budget 3 is a subset of the run at budget 6, draw for draw."""
    small, large = make_run("s", budget=3), make_run("l", budget=6)
    assert np.array_equal(small.judge_score, large.judge_score[:, :3])
    again = replay(large, [3, 6])
    assert np.array_equal(again.selected[0], small.searches["selected"])


def test_sequential_strategies_are_driven_again(make_run: MakeRun) -> None:
    options = {"select": "first-accepted"}
    large = make_run("l", budget=7, strategy_options=options)
    curves = run_curves(large)
    assert curves.own.selector == STRATEGY and curves.own.basis == "replay" and not curves.notes
    for budget in (1, 2, 5):
        small = make_run(f"s{budget}", budget=budget, strategy_options=options)
        column = list(curves.own.budgets).index(budget)
        assert curves.own.scores[:, column] == pytest.approx(small.scores())
        drawn = (small.index >= 0).sum(axis=1).mean()
        assert curves.own.costs["draws"][0, column] == pytest.approx(drawn)
        nfe = small.spent("nfe").sum(axis=1).mean()
        assert curves.own.costs["nfe"][0, column] == pytest.approx(nfe)


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    "strategy", ["reflect", "reflect-beam", "explore-then-reflect", "reflect-or-restart"]
)
def test_feedback_strategies_too(make_run: MakeRun, strategy: str) -> None:
    large = make_run("l", strategy=strategy, budget=6, replicates=2)
    small = make_run("s", strategy=strategy, budget=3, replicates=2)
    assert "round" in large.dependent
    own = run_curves(large).own
    assert own.scores[:, 2] == pytest.approx(small.scores())
    assert own.scores[:, 5] == pytest.approx(large.scores())


def test_draws_that_are_not_in_the_log_are_said_not_guessed(make_run: MakeRun) -> None:
    curves = run_curves(make_run("w", strategy=WIDE, budget=3))
    assert [note.split(":")[0] for note in curves.notes] == ["budget 2"]
    assert "10 of 10 searches ask for draws that are not in the log" in curves.notes[0]
    assert np.isnan(curves.own.scores[:, 1]).all() and np.isfinite(curves.own.scores[:, 2]).all()
    gaps = gap_table([curves], ["w"])
    assert set(gaps["budget"]) == {1, 3}
    table = curve_table([curves], ["w"])
    assert table[table.budget == 2]["score"].isna().all()
    assert (table[table.budget == 2]["method"] == "").all()


def test_a_rule_of_its_own_is_replayed_while_the_draws_are_still_subsets(
    make_run: MakeRun,
) -> None:
    result = make_run("o", strategy=LOWEST, budget=4)
    curves = run_curves(result)
    assert (curves.own.selector, curves.own.basis) == (STRATEGY, "replay")
    assert curves.own.scores[:, -1] == pytest.approx(result.scores())
    by_score = curves.get(SCORE)
    assert by_score is not None and by_score.basis == "subsets" and not by_score.own


def test_another_strategy_under_the_same_name_is_refused(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = make_run("w", strategy=WIDE, budget=3)
    monkeypatch.setattr(Wide, "search", Lowest.search)
    with pytest.raises(HarnessError, match="does not do what"):
        run_curves(result)
    monkeypatch.delattr("tests.analysis.test_curves.Wide")
    curves = run_curves(result)
    assert curves.own.basis == "run" and "cannot be replayed here" in curves.notes[0]
    assert curves.own.scores[:, 0] == pytest.approx(result.scores())


def test_failed_draws_and_searches_are_in_no_mean(make_run: MakeRun, faults: Faults) -> None:
    faults.add("generator", "error", "on-3")
    result = make_run("f", budget=3)
    assert result.draws_failed == 3 and result.searches_failed == 1
    curves = run_curves(result)
    assert all(np.isnan(c.scores[3]).all() for c in curves.curves)
    rest = np.arange(10) != 3
    assert all(np.isfinite(c.scores[rest]).all() for c in curves.curves)
    assert curves.own.scores[:, -1] == pytest.approx(result.scores(), nan_ok=True)
    table = curve_table([curves], ["f"])
    micro = table[table["own"] & (table["kind"] == "micro")]
    assert micro["prompts"].tolist() == [9] * 3 and (micro["searches_scored"] == 9).all()
    last = micro["score"].iloc[-1]
    assert last == pytest.approx(result.scores()[rest].mean())
    assert f"1 without a score, in no mean (were they wrong, micro would be {last * 0.9:.3f})" in (
        caption(result)
    )
    assert differences(Path(str(result.folder.path))) == []


def test_a_search_that_fails_before_its_first_draw_keeps_its_prompt(make_run: MakeRun) -> None:
    result, other = make_run("s", strategy=STUMBLING, budget=2), make_run("o", budget=2)
    assert result.searches_failed == 2
    pd.testing.assert_frame_equal(result.prompts, other.prompts)
    curves = run_curves(result)
    assert curves.own.basis == "replay" and np.isnan(curves.own.scores[[3, 6]]).all()
    summary = summarise(result.folder.path)
    counts = {tag: of[1:] for tag, of in summary.tags.items()}
    assert counts == {"even": (4, 5), "odd": (4, 5)}
    table = comparison_table([result, other], ["s", "o"])
    assert (table[table.kind != "tag"]["prompts"] == 8).all()
    assert differences(Path(str(result.folder.path))) == []


def test_a_search_that_ran_out_of_time_keeps_its_outcome(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Drowsy, "seconds", 5.0)
        patch.setattr(searches, "STEP_SECONDS", 0.3)
        result = make_run("d", strategy=DROWSY, budget=2)
    assert timed_out(result.searches["error"][3])
    curves = run_curves(result)
    assert curves.own.basis == "replay"
    assert curves.own.scores[:, -1] == pytest.approx(result.scores(), nan_ok=True)
    assert differences(Path(str(result.folder.path))) == []


def test_who_stopped_before_the_budget_did_not_draw_by_number(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All searches may end in their opening round, whose best is then the best of all draws."""
    always = StubJudge.judge

    def accepts(self: StubJudge, *arguments: Any) -> Any:
        return [
            (replace(verdict, accepted=True), cost) for verdict, cost in always(self, *arguments)
        ]

    monkeypatch.setattr(StubJudge, "judge", accepts)
    result = make_run("e", strategy="explore-then-reflect", budget=6)
    assert result.index.shape[1] == 4
    curves = run_curves(result)
    assert curves.own.basis == "replay"
    assert curves.own.at(6) == pytest.approx(result.scores())


def test_searches_under_way_are_left_out_and_counted(tmp_path: Path, suite: Path) -> None:
    count = iter(range(1000))
    with pytest.raises(Interrupted):
        run(stub_plan(suite), tmp_path / "r", stop=lambda: next(count) > 12)
    result = load_run(tmp_path / "r")
    assert 0 < len(result.searches) < 10 and result.searches_total == 10
    table = curve_table([run_curves(result)], ["r"])
    assert (table["searches"] == len(result.searches)).all()
    assert (table["searches_total"] == 10).all()


def test_gap_is_oracle_minus_judge(make_run: MakeRun) -> None:
    curves = run_curves(make_run("r", budget=5))
    gaps = gap_table([curves], ["r"])
    micro = gaps[gaps.kind == "micro"]
    assert micro["gap"].to_numpy() == pytest.approx((micro["oracle"] - micro["own"]).to_numpy())
    assert micro["gap"].iloc[0] == pytest.approx(0) and (micro["gap"] >= -1e-12).all()
    assert set(gaps["tag"]) == {"", "even", "odd"}


def test_what_is_no_scored_run_is_refused(tmp_path: Path, make_run: MakeRun) -> None:
    with pytest.raises(UsageError, match="is not a run"):
        load_run(tmp_path)


def test_budget_grid_has_every_small_budget_and_the_last() -> None:
    assert budget_grid(5) == [1, 2, 3, 4, 5]
    assert budget_grid(100) == [*range(1, 25), 32, 48, 64, 96, 100]


def test_what_the_judge_failed_on_cannot_be_selected(make_run: MakeRun, faults: Faults) -> None:
    """The scorer still looks at such an image; nobody who searches could have taken it."""
    for prompt in range(10):
        faults.add("judge", "error", f"on-thing {prompt}")
    result = make_run("r", budget=3)
    assert result.correct.any() and not result.answered.any()
    for curve in run_curves(result).curves:
        assert np.isnan(curve.scores).all(), curve.selector


def test_a_strategy_that_the_budget_only_limits_is_replayed_once(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The replay that is spared says what it would have said, and only its own class is trusted."""
    from harness.runs import replay as module
    from strategies.reflect import Reflect

    budgets = []

    class Watched(searches.Search):
        def __init__(self, *args: Any, **options: Any) -> None:
            budgets.append(options["budget"])
            super().__init__(*args, **options)

    monkeypatch.setattr(module, "Search", Watched)
    logged = make_run("reflect", strategy="reflect", budget=6)
    short = replay(logged)
    spared = len(budgets)
    monkeypatch.setattr(Reflect, "budget_only_limits", False)
    long = replay(logged)
    assert spared < len(budgets) - spared == 6 * len(logged.searches)
    for name in ("asked", "selected", "missing"):
        assert np.array_equal(getattr(short, name), getattr(long, name))
    promise = {"budget_only_limits": True}
    other = type("Other", (type("Promising", (Reflect,), promise),), {})
    result = Replayed((0,), (), (), 1, 0, None)
    assert module._holds_from(result, other.__mro__[1](), [1, 2, 3]) == 0
    assert module._holds_from(result, other(), [1, 2, 3]) == 2
