"""A grid of searches over one bank: costs, the baseline at equal cost, and the Pareto set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

import harness as package
from harness.analysis.judging import JUDGE, SCORER, previews_table
from harness.errors import UsageError
from harness.runs.loading import load_run
from harness.runs.replay import missing_table, replay
from harness.statistics.correlation import correlation
from harness.statistics.intervals import mean_interval
from harness.statistics.pairs import difference
from harness.what_if.bank import Bank
from harness.what_if.sweep import Point, budgets_up_to, default_grid, grid_of, sweep
from tests.runs import run, stub_plan
from tests.terminal import Terminal
from tests.what_if.replays import what_if

pytestmark = pytest.mark.usefixtures("import_stubs", "steady")

BUDGET = 6
STEPS = {"num_inference_steps": "8"}


@pytest.fixture
def path(suite: Path, tmp_path: Path) -> Path:
    ask = {"strategy": "bank", "budget": BUDGET, "benchmark_options": {"size": "30"}}
    run(stub_plan(suite, generator_settings={"num_inference_steps": "8"}, **ask),
        tmp_path / "bank")  # fmt: skip
    return tmp_path / "bank"


@pytest.mark.slow
def test_the_default_grid_is_what_the_log_can_answer(path: Path) -> None:
    bank = Bank.open(path)
    points = default_grid([bank])
    result = sweep([bank], points)
    frame = result.frame
    assert result.axes == ["tflops", "nfe", "device_seconds"] and len(frame) + len(
        result.missing
    ) == len(points)
    assert {point.strategy for point in result.missing} <= {"prune", "threshold"}
    assert {name.split()[0].strip(",") for name in frame["curve"]} == {
        "best-of-n", "prune", "threshold"
    }  # fmt: skip
    real = bank.replayed("prune", {"schedule": "0.25:0.5,0.5:0.25"}, budget=2).run
    (row,) = frame[(frame["curve"] == "prune schedule=0.25:0.5,0.5:0.25")
                   & (frame["budget"] == 2)].to_dict("records")  # fmt: skip
    assert row["score"] == pytest.approx(float(np.nanmean(real.scores())))
    spent = real.spent("tflops", ("generator", "judge")).sum(axis=1).mean()
    assert row["tflops"] == pytest.approx(float(spent))


def test_the_baseline_is_read_at_the_same_cost(path: Path) -> None:
    bank = Bank.open(path)
    accepting = Point("best-of-n", {"select": "first-accepted"}, 6)
    result = sweep([bank], [*grid_of("best-of-n", {}, [1, 4]), accepting])
    one, four, other = result.frame.to_dict("records")
    assert np.isnan([one["difference_tflops"], four["difference_tflops"]]).all()
    share = (other["tflops"] - one["tflops"]) / (four["tflops"] - one["tflops"])
    if 0 <= share <= 1:
        runs = [bank.replayed("best-of-n", {}, budget=n).run.scores() for n in (1, 4)]
        own = bank.replayed("best-of-n", {"select": "first-accepted"}, budget=6).run.scores()
        expected = difference((1 - share) * runs[0] + share * runs[1], own)
        assert other["difference_tflops"] == pytest.approx(expected.value)
        assert other["difference_tflops_low"] == pytest.approx(expected.low)
    else:
        assert np.isnan(other["difference_tflops"])
    with pytest.raises(UsageError, match="no curve of this sweep"):
        sweep([bank], grid_of("best-of-n", {}, [1]), baseline="single")


@pytest.mark.slow
def test_runs_that_no_replay_answers_stand_beside_seeds_as_one(
    suite: Path, tmp_path: Path, harness: Terminal
) -> None:
    common = {"benchmark_options": {"size": "12"}, "generator_settings": STEPS}
    seeds = range(3)
    for seed in seeds:
        for name, budget in (("bank", 4), ("noise-search", 3)):
            run(stub_plan(suite, strategy=name, budget=budget, seed=seed, **common),
                tmp_path / f"{name}-{seed}")  # fmt: skip
    run(stub_plan(suite, strategy="reflect", budget=3, judge="oracle", seed=1, **common),
        tmp_path / "reflect")  # fmt: skip
    banks = [tmp_path / f"bank-{seed}" for seed in (2, 0, 1)]
    others = [tmp_path / f"noise-search-{seed}" for seed in seeds]
    words = ["--sweep", "--strategy", "best-of-n", "-S", "select=score", "--budget", 2]
    assert harness("what-if", banks[0], *others, tmp_path / "reflect", *banks[1:], *words,
                   "--plugins", "--csv", "f.csv") == 0  # fmt: skip
    assert "bank-4, noise-search-3: 3 images per prompt" in harness.out
    assert harness.out.count("36 of 36 searches ended") == 1
    frame = pd.read_csv("f.csv").set_index(["curve", "budget"])
    assert ("best-of-n", 4) in frame.index and len(frame) == 7
    runs = {
        ("best-of-n select=score", 2): [what_if(b, "best-of-n", budget=2).run for b in banks],
        ("noise-search", 3): [load_run(path) for path in others],
        ("reflect, oracle", 3): [load_run(tmp_path / "reflect")],
    }
    for key, parts in runs.items():
        row, scores = frame.loc[key], np.mean([run.scores() for run in parts], axis=0)
        estimate = mean_interval(scores.tolist())
        assert (row["score"], row["low"], row["high"]) == pytest.approx(
            (estimate.value, estimate.low, estimate.high)
        )
        for axis in ("nfe", "tflops", "device_seconds"):
            spent = [run.spent(axis, ("generator", "judge")).sum(axis=1).mean() for run in parts]
            assert row[axis] == pytest.approx(np.mean(spent))
    assert frame.loc[("reflect, oracle", 3), "oracle"]
    row = frame.loc[("noise-search", 3)]
    mixed = np.mean([what_if(bank, "best-of-n", budget=3).run.scores() for bank in banks], axis=0)
    expected = difference(mixed, np.mean([load_run(path).scores() for path in others], axis=0))
    assert row["difference_nfe"] == pytest.approx(expected.value)
    assert row["difference_nfe_low"] == pytest.approx(expected.low)
    run(stub_plan(suite), tmp_path / "fewer")
    assert harness("what-if", banks[0], tmp_path / "fewer", *words, "--plugins") == 2
    points = grid_of("best-of-n", {}, [9])
    with pytest.raises(UsageError, match="asks for draws that the log lacks"):
        sweep([Bank.open(banks[0])], points)


def test_nothing_cheaper_is_as_good_as_what_is_marked(path: Path) -> None:
    bank = Bank.open(path)
    result = sweep([bank], default_grid([bank]))
    frame = result.frame
    own = frame[~frame["oracle"]]
    for axis in result.axes:
        for _, row in own.iterrows():
            beaten = own[(own[axis] <= row[axis]) & (own["score"] >= row["score"])]
            strictly = beaten[(beaten[axis] < row[axis]) | (beaten["score"] > row["score"])]
            assert row[f"pareto_{axis}"] == strictly.empty
        assert not frame[frame["oracle"]][f"pareto_{axis}"].any() and own[f"pareto_{axis}"].any()


def test_a_bank_s_own_budget_ends_the_grid() -> None:
    assert budgets_up_to(1) == [1] and budgets_up_to(20) == [1, 2, 3, 4, 6, 8, 12, 16, 20]


def test_previews_are_paired_with_the_ends_of_their_trajectories(path: Path) -> None:
    table = previews_table([load_run(path)], ["bank"]).set_index(["step", "final"])
    assert set(table.index) == {(s, f) for s in (2, 4) for f in (JUDGE, SCORER)}
    frame = package.load(path).set_index(["prompt_id", "draw_index"])
    prompts = frame.index.get_level_values(0).unique()
    for place, step in enumerate((2, 4)):
        pairs = [(frame.loc[p, 3 * n + place], frame.loc[p, 3 * n + 2])
                 for p in prompts for n in range(BUDGET)]  # fmt: skip
        for final, column in ((JUDGE, "judge_score"), (SCORER, "value")):
            row = table.loc[(step, final)]
            expected = spearmanr(
                [a["judge_score"] for a, _ in pairs], [b[column] for _, b in pairs]
            )
            assert row["spearman"] == pytest.approx(expected.statistic)
            assert row["low"] <= row["spearman"] <= row["high"] and row["pairs"] == 180


def test_a_correlation_within_prompts_is_not_one_between_them() -> None:
    prompts = np.repeat(np.arange(8), 5)
    noise = np.tile([0.1, 0.2, 0.3, 0.4, 0.5], 8)
    result = correlation(prompts + noise, prompts - noise, prompts)
    assert result["spearman"] > 0.9 and result["within"] == pytest.approx(-1.0)
    constant = correlation(np.ones(40), noise, prompts)
    assert all(np.isnan(value) for value in constant.values())


@pytest.mark.slow
def test_a_sweep_is_printed_and_written(path: Path, harness: Terminal) -> None:
    assert harness("what-if", path, "--sweep", "--plugins", "--csv", "out/f.csv",
                   "--figure", "out/f.svg") == 0  # fmt: skip
    assert "Pareto" in harness.out and "Preview against final" in harness.out
    frame = pd.read_csv("out/f.csv")
    assert {"curve", "tflops", "pareto_nfe", "difference_tflops_low"} <= set(frame.columns)
    assert Path("out/f.svg").read_text().startswith("<?xml")
    both = ["--judge", "tests.stubs:StubJudge", "--judge", "oracle"]
    assert harness("what-if", path, "--sweep", "--plugins", "--csv", "two.csv", *both) == 0
    curves = pd.read_csv("two.csv").groupby("curve")["budget"].apply(sorted)
    assert curves["best-of-n"] == curves["best-of-n, oracle"] == [1, 2, 3, 4, 6]
    assert any("prune" in name for name in curves.index if name.endswith(", oracle"))
    grid = ["--strategy", "prune", "-S", "schedule=0.25:0.5", "-S", "schedule=0.5:0.5"]
    other = ["--budget", 2, "--judge", "oracle"]
    assert harness("what-if", path, "--sweep", "--plugins", *grid, *other) == 0
    assert "prune schedule=0.5:0.5, oracle" in harness.out
    assert harness("what-if", path, "--sweep", "--plugins", "--figure", "f.pdf") == 2
    assert harness("what-if", path, "--plugins") == 2 and "--strategy" in harness.err


@pytest.mark.slow
def test_a_report_of_a_bank_knows_every_budget_and_how_well_previews_tell(
    path: Path, harness: Terminal
) -> None:
    assert missing_table(replay(load_run(path))).empty
    assert harness("report", path, "--out", "page", "--gallery", "none", "--plugins") == 0
    table = pd.read_csv("page/tables/previews.csv")
    assert table["step"].tolist() == [2, 2, 4, 4] and (table["steps"] == 8).all()
    assert "Preview against final" in Path("page/index.html").read_text()
