"""Draws that nobody could score: in no mean, in every count, and never a zero."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness.analysis.comparison import comparison_table, matched_table
from harness.analysis.curves import ORACLE, RANDOM, SCORE, run_curves
from harness.analysis.findings import analyse
from harness.runs.logged_run import LoggedRun
from harness.statistics.intervals import known_bca, known_mean, mean_bands, wilson
from tests.analysis.conftest import MakeRun
from tests.reference.test_report import differences
from tests.runs import run, stub_plan
from tests.stubs import Faults, make_stub_suite
from tests.terminal import STUB, Terminal


def holes(result: LoggedRun, seed: int, share: float = 0.3) -> LoggedRun:
    """A run as if its scorer had failed on some draws."""
    gone = np.random.default_rng(seed).random(result.index.shape) < share
    return replace(
        result,
        scored=result.scored & ~gone,
        correct=result.correct & ~gone,
        value=np.where(gone, 0.0, result.value),
    )


@pytest.mark.parametrize("seed", range(3))
def test_expectations_are_over_the_subsets_whose_choice_has_a_score(
    make_run: MakeRun, seed: int
) -> None:
    result = holes(make_run("r", budget=4), seed)
    curves = run_curves(result)
    for search, prompt in enumerate(result.searches["prompt"]):
        for n in range(1, 5):
            chosen: dict[str, list[bool]] = {SCORE: [], ORACLE: [], RANDOM: []}
            for subset in map(list, combinations(range(4), n)):
                known = result.scored[search, subset]
                right = result.correct[search, subset]
                top = int(np.argmax(result.judge_score[search, subset]))
                chosen[SCORE] += [bool(right[top])] if known[top] else []
                chosen[ORACLE] += [bool(right.any())] if known.any() else []
                chosen[RANDOM] += right[known].tolist()
            for selector, outcomes in chosen.items():
                curve = curves.get(selector)
                assert curve is not None
                expected = np.mean(outcomes) if outcomes else np.nan
                assert curve.scores[prompt, n - 1] == pytest.approx(expected, nan_ok=True), selector


def test_columns_over_their_known_rows_are_as_if_the_others_were_not_there() -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 2, (40, 3)).astype(float)
    strata = [np.arange(0, 15), np.arange(15, 40)]
    values[3, 1] = np.nan
    values[[0, 20], 2] = np.nan
    for column, gone in enumerate(([], [3], [0, 20])):
        rest = np.setdiff1d(np.arange(40), gone)
        alone = values[rest][:, [column]]
        parts = [np.flatnonzero(np.isin(rest, rows)) for rows in strata]
        for (bands, methods), (other, method) in (
            (mean_bands(values), mean_bands(alone)),
            (mean_bands(values, strata), mean_bands(alone, parts)),
        ):
            assert methods[column] == method[0]
            for whole, single in zip(
                (bands.value, bands.low, bands.high), (other.value, other.low, other.high),
                strict=True,
            ):  # fmt: skip
                assert whole[column] == pytest.approx(single[0], abs=1e-7)
    nothing = np.full((4, 2), np.nan)
    nothing[:2, 1] = 1.0
    bands, counts = known_bca(nothing, seed=0, level=0.95)
    assert counts.tolist() == [0, 2] and np.isnan(bands.value[0])
    bands, methods = mean_bands(nothing)
    assert methods.tolist() == ["", "Wilson"] and bands.low[1] == wilson(2, 2)[0]
    assert known_mean(nothing).tolist() == pytest.approx([np.nan, 1.0], nan_ok=True)


def test_pairs_are_over_the_prompts_that_both_have_scores_of(make_run: MakeRun) -> None:
    one, other = make_run("a", budget=2), holes(make_run("b", budget=2, seed=1), 0, 0.5)
    both = np.isfinite(other.scores())
    assert 0 < both.sum() < 10
    table = comparison_table([one, other], ["a", "b"])
    micro = table[table["kind"] == "micro"].iloc[0]
    assert micro["prompts"] == both.sum()
    assert micro["score_first"] == pytest.approx(one.scores()[both].mean())
    nothing = replace(other, scored=np.zeros_like(other.scored))
    table = comparison_table([one, nothing, other], ["a", "n", "b"])
    unknown = table[(table["first"] == "n") | (table["second"] == "n")]
    assert (unknown["prompts"] == 0).all() and unknown[["difference", "p", "p_holm"]].isna().all(
        axis=None
    )
    assert table["p_holm"].notna().any()
    rows = matched_table([run_curves(one), run_curves(nothing)], ["a", "n"])
    assert (rows["note"] == "no prompt has a score in both runs").all()


@pytest.mark.parametrize(
    ("strategy", "budget"), [("best-of-n", 3), ("explore-then-reflect", 4), ("single", 1)]
)
def test_a_second_computation_agrees(tmp_path: Path, strategy: str, budget: int) -> None:
    suite, faults = make_stub_suite(tmp_path)
    for role, word in (("generator", "on-thing 3"), ("judge", "on-thing 5"), ("scorer", "on-7")):
        faults.add(role, "error", word)
    ready = stub_plan(suite, strategy=strategy, budget=budget, replicates=2)
    run(ready, tmp_path / "run")
    assert differences(tmp_path / "run") == []


@pytest.mark.slow
def test_where_nothing_could_be_scored_there_is_no_score(
    harness: Terminal, suite: Path, faults: Faults
) -> None:
    common = ["--model", suite, *STUB, "--strategy", "best-of-n", "--budget", 2, "--threads", 1]
    assert harness("run", *common, "--out", "good") == 0
    for digit in range(10):
        faults.add("scorer", "error", f"on-thing {digit}")
    assert harness("run", *common, "--seed", 1, "--out", "bad") == 1
    for command in (("show", "bad"), ("run", *common, "--seed", 1, "--out", "bad")):
        assert harness(*command) == 1
        assert "0.000" not in harness.out
        assert "nothing could be scored: " in harness.out
        rows = [line for line in harness.out.splitlines() if line.startswith(("micro", "macro"))]
        assert len(rows) == 2 and all("–" in row and "0 of 10" in row for row in rows)
    for runs in (["bad"], ["bad", "good", "--separate-seeds"]):
        assert harness("report", *runs, "--out", "report") == 1
        assert "nothing of best-of-n-2" in harness.err and "could be scored: " in harness.err
        table = pd.read_csv("report/tables/results.csv")
        unknown = table[table["searches_scored"] == 0]
        assert len(unknown) and unknown[["score", "low", "high"]].isna().all(axis=None)
        assert (unknown["prompts"].max(), unknown["searches"].max()) == (10, 10)
        markdown = Path("report/tables/results.md").read_text()
        assert "| – |" in markdown and "nan" not in markdown.lower()
        assert "nan" not in Path("report/tables/comparison.md").read_text() if len(runs) > 1 else 1
    assert harness("compare", "bad", "good") == 1
    assert "–" in harness.out and "nan" not in harness.out
    assert "could be scored: " in harness.err
    result = analyse(["bad"])
    assert np.isnan(result.results["score"]).all() and result.unscored
    assert differences(Path("bad")) == []
