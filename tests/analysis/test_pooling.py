"""Runs of several seeds as one: what is pooled, what is not, and that nothing is counted twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.analysis import analyse
from harness.analysis.curves import run_curves
from harness.analysis.protocol import caption, facts, labels, only, pool
from harness.analysis.tables import seeds_table
from harness.errors import Interrupted
from tests.analysis.conftest import MakeRun
from tests.runs import run, stub_plan


def test_seeds_are_pooled_and_prompts_stay_the_unit(make_run: MakeRun) -> None:
    runs = [make_run(f"s{seed}", seed=seed, budget=3, replicates=2) for seed in (2, 0, 1)]
    (pooled,) = pool(runs)
    assert pooled.seeds == [0, 1, 2] and pooled.images_per_prompt == 6
    assert len(pooled.prompts) == 10 and len(pooled.searches) == pooled.searches_total == 60
    expected = np.mean([run.scores() for run in runs], axis=0)
    assert pooled.scores() == pytest.approx(expected)
    curves = run_curves(pooled).own
    each = np.mean([run_curves(run).own.scores for run in runs], axis=0)
    assert curves.scores == pytest.approx(each)
    order = pooled.searches[["prompt", "part", "replicate"]].to_numpy().tolist()
    assert order == sorted(order)
    assert facts(pooled)["images_per_prompt"] == 6 and facts(pooled)["seeds"] == "0, 1, 2"
    assert "2 for each of the seeds 0, 1, 2" in caption(pooled)
    back = only(pooled, 2)
    assert np.array_equal(back.judge_score, runs[0].judge_score) and back.seeds == [2]
    assert np.array_equal(back.scores(), runs[0].scores())


def test_only_what_differs_in_nothing_else_is_pooled(make_run: MakeRun) -> None:
    runs = [
        make_run("a0", budget=3),
        make_run("b0", budget=2),
        make_run("a1", budget=3, seed=1),
        make_run("c1", budget=3, seed=1, benchmark_options={"size": "4"}),
    ]
    assert [run.seeds for run in pool(runs)] == [[0, 1], [0], [1]]
    # The same searches twice would look like more evidence than there is.
    twice = pool([runs[0], runs[2], runs[0]])
    assert [run.seeds for run in twice] == [[0], [1], [0]]
    assert len(set(labels(twice))) == 3


def test_a_sequential_strategy_is_replayed_seed_by_seed(make_run: MakeRun) -> None:
    runs = [make_run(f"s{seed}", strategy="reflect", budget=4, seed=seed) for seed in (0, 1)]
    (pooled,) = pool(runs)
    curves, single = run_curves(pooled), [run_curves(run).own for run in runs]
    assert curves.own.basis == "replay" and not curves.notes
    assert curves.own.scores == pytest.approx(np.mean([s.scores for s in single], axis=0))
    cost = np.mean([s.costs["draws"][0] for s in single], axis=0)
    assert curves.own.costs["draws"][0] == pytest.approx(cost)


def test_an_unfinished_seed_is_counted_as_it_is(
    make_run: MakeRun, tmp_path: Path, suite: Path
) -> None:
    whole = make_run("whole")
    count = iter(range(1000))
    with pytest.raises(Interrupted):
        run(stub_plan(suite, seed=1), tmp_path / "part", stop=lambda: next(count) > 12)
    result = analyse([tmp_path / "whole", tmp_path / "part"])
    (pooled,) = result.runs
    ended = len(pooled.searches) - 10
    assert 0 < ended < 10 and pooled.searches_total == 20
    assert f"{10 + ended} of 20 searches ended" in result.captions[0]
    assert len(pooled.prompts) == 10 and pooled.scores().shape == whole.scores().shape


@pytest.mark.slow
def test_pooled_runs_are_compared_as_one_with_a_table_of_seeds(
    make_run: MakeRun, tmp_path: Path
) -> None:
    made = [
        make_run(f"{strategy}{seed}", strategy=strategy, budget=4, seed=seed)
        for strategy in ("best-of-n", "reflect")
        for seed in (0, 1, 2)
    ]
    paths = [run.folder.path for run in made]
    result = analyse(paths)
    assert result.names == ["best-of-n-4", "reflect-4"]
    micro = result.comparison[result.comparison["kind"] == "micro"].iloc[0]
    assert len(result.comparison["first"].unique()) == 1 and micro["same_noise"]
    one, other = (np.mean([r.scores() for r in made[i : i + 3]], axis=0) for i in (0, 3))
    assert micro["difference"] == pytest.approx((other - one).mean())
    assert micro["test"] == "sign flips over prompts" and micro["images_per_prompt"] == "3"
    seeds = seeds_table(result.runs, result.names)
    assert seeds.equals(result.seeds) and len(seeds) == 2 * 3 * 4
    row = seeds[(seeds["run"] == "reflect-4") & (seeds["seed"] == 1)].set_index("kind")
    assert row.loc["micro", "score"] == pytest.approx(made[4].scores().mean())
    apart = analyse(paths, separate_seeds=True)
    assert len(apart.runs) == 6 and apart.seeds.empty and "reflect-4 seed 2" in apart.names
