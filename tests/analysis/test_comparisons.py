"""Runs against each other and against what is published."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.geneval.classes import TAGS
from harness.analysis.comparison import comparison_table, matched_table
from harness.analysis.curves import run_curves
from harness.analysis.protocol import (
    caption,
    check_comparable,
    labels,
    protocol_differences,
    warnings,
)
from harness.analysis.published import load_published, published_points
from harness.errors import UsageError
from harness.models.leakage import LABEL
from tests.analysis.conftest import MakeRun


def test_paired_table_by_hand(make_run: MakeRun) -> None:
    runs = [make_run("a", budget=2), make_run("b", budget=6), make_run("c", budget=3, seed=1)]
    table = comparison_table(runs, ["a", "b", "c"]).set_index(["first", "second", "kind", "tag"])
    row = table.loc[("a", "b", "micro", "")]
    one, other = runs[0].scores(), runs[1].scores()
    assert row["difference"] == pytest.approx((other - one).mean())
    assert (row["wins"], row["losses"]) == ((other > one).sum(), (other < one).sum())
    assert row["low"] <= row["difference"] <= row["high"] and row["test"] == "exact McNemar"
    assert row["same_noise"] and not table.loc[("a", "c", "micro", ""), "same_noise"]
    micro = table.xs("micro", level="kind")
    assert (micro["p_holm"] >= micro["p"] - 1e-12).all() and len(micro) == 3
    macro = table.xs("macro", level="kind")
    assert (macro["p_holm"] >= macro["p"] - 1e-12).all() and macro["p"].between(0, 1).all()
    # Two tags of five prompts each: macro is micro, and so is what can be detected.
    assert macro["difference"].to_numpy() == pytest.approx(micro["difference"].to_numpy())
    assert (macro["low"] <= macro["difference"]).all() and (macro["test"] != "").all()


def test_at_equal_cost_the_curve_is_read_between_budgets(make_run: MakeRun) -> None:
    reflect, wide = make_run("r", strategy="reflect", budget=5), make_run("b", budget=8)
    curves = [run_curves(run) for run in (reflect, wide)]
    table = matched_table(curves, ["reflect-5", "best-of-n-8"])
    row = table[(table["run"] == "reflect-5") & (table["cost_axis"] == "draws")].iloc[0]
    drawn = (reflect.index >= 0).sum(axis=1).mean()
    assert row["cost"] == pytest.approx(drawn) and row["other_budget"] == pytest.approx(drawn)
    expected = np.interp(drawn, curves[1].own.budgets, curves[1].own.scores.mean(axis=0))
    assert row["other_score"] == pytest.approx(expected)
    assert row["difference"] == pytest.approx(row["score"] - expected)
    back = table[(table["run"] == "best-of-n-8") & (table["cost_axis"] == "draws")].iloc[0]
    assert "beyond the log of reflect-5" in back["note"] and np.isnan(back["other_score"])


def test_labels_tell_runs_apart_and_captions_say_how_complete(make_run: MakeRun) -> None:
    runs = [make_run("a"), make_run("b", seed=1), make_run("c", budget=2)]
    names = labels([*runs, runs[2]])
    assert len(set(names)) == 4 and names[0].endswith("seed 0")
    assert "10 of 10 searches ended" in caption(runs[0])
    assert "MINIATURE" in caption(runs[0])


def test_a_judge_that_shares_the_scorer_s_checkpoint_is_labelled(make_run: MakeRun) -> None:
    """The stubs' judge and scorer share a folder; an oracle has a label of its own."""
    runs = [
        make_run("a"),
        make_run("b", judge="oracle"),
        make_run("c", judge="none", strategy="single"),
    ]
    assert [LABEL in caption(run) for run in runs] == [True, False, False]
    assert ["ORACLE" in caption(run) for run in runs] == [False, True, False]
    assert [sum(LABEL in output for output in warnings([run])) for run in runs] == [1, 0, 0]


def test_protocols_differ_in_prompts_or_resolution(make_run: MakeRun) -> None:
    plain = make_run("a")
    fewer = make_run("b", benchmark_options={"size": "4"})
    larger = make_run("c", generator_settings={"height": "16"})
    assert protocol_differences(plain, make_run("d", budget=2)) == []
    assert "prompt set" in protocol_differences(plain, fewer)
    assert protocol_differences(plain, larger) == ["resolution"]
    with pytest.raises(UsageError, match="resolution"):
        check_comparable([plain, larger], force=False)
    assert "not comparable" in check_comparable([plain, larger], force=True)[0]
    assert (
        "resolution"
        in comparison_table([plain, larger], ["a", "c"])["protocol_differences"].iloc[0]
    )


def test_published_macro_is_the_mean_of_the_printed_tags(make_run: MakeRun) -> None:
    frame = load_published()
    points = published_points(frame, [make_run("a")])
    assert (points["reason"].str.contains("miniature")).all()
    macro = points[(points["kind"] == "macro") & (points["generator"] == "SANA-1.0-1.6B")]
    assert macro["derived"].all()
    # As results/published says of arXiv 2503.12271, table 1.
    assert macro["score"].round(3).tolist() == [0.635, 0.760, 0.813]
    unknown = points[points["kind"] == "unknown"]
    assert len(unknown) and unknown["reason"].str.contains("micro or macro is not known").all()
    assert set(points[points["kind"] == "tag"]["tag"]) == set(TAGS)
