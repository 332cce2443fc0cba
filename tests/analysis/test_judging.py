"""Agreement of judge and scorer, peaks of measures, cost axes, and both programs of DPG-Bench."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.dpg_bench.benchmark import DPGBench
from harness.analysis import evidence
from harness.analysis.comparison import by_pair
from harness.analysis.curves import AXES, run_curves
from harness.analysis.findings import analyse
from harness.analysis.judging import (
    JUDGE,
    SCORER,
    agreement_table,
    peaks_table,
    roc_table,
    transfer_table,
)
from harness.analysis.ledger import LEDGER, disagreements_table, known_axes, ledger_curves
from harness.log.frame import load
from harness.price import Price
from harness.records import Answer
from harness.runs.logged_run import LoggedRun
from harness.runs.money import by_draw
from harness.statistics.correlation import area
from tests.analysis.conftest import MakeRun


def test_agreement_counts_every_draw_by_tag(make_run: MakeRun) -> None:
    run = make_run("r", budget=4)
    frame = load(run.folder.path)
    table = agreement_table([run], ["r"]).set_index("tag")
    assert list(table.index) == ["", "even", "odd"]
    for tag, row in table.iterrows():
        rows = frame if tag == "" else frame[frame["tag"] == tag]
        counts = [
            int(((rows["correct"] == right) & (rows["accepted"] == accepted)).sum())
            for right in (True, False)
            for accepted in (True, False)
        ]
        verdicts = ["right_accepted", "right_rejected", "wrong_accepted", "wrong_rejected"]
        assert row[verdicts].tolist() == counts
        agree = (rows["correct"] == rows["accepted"]).groupby(rows["prompt_id"]).mean().mean()
        assert row["agreement"] == pytest.approx(agree)
    right, score = frame["correct"].astype(bool), frame["judge_score"]
    pairs = np.sign(score[right].to_numpy()[:, None] - score[~right].to_numpy()[None])
    assert table.loc["", "auc"] == pytest.approx((pairs + 1).mean() / 2)
    roc = roc_table([run], ["r"])
    assert roc["threshold"].is_monotonic_decreasing
    for row in roc.itertuples():
        assert row.right_above == pytest.approx((score[right] >= row.threshold).mean())
        assert row.wrong_above == pytest.approx((score[~right] >= row.threshold).mean())
    assert np.isnan(area(np.zeros(4), np.array([True, False, True, False])))


def test_a_measure_that_falls_past_its_peak_is_over_optimised(make_run: MakeRun) -> None:
    run = make_run("r", budget=6, benchmark_options={"size": 40})
    opposite = replace(run, metrics={"opposite": -run.judge_score, "follows": run.judge_score})
    table = peaks_table([run_curves(opposite)], ["r"]).set_index("measure")
    assert table.loc["opposite", "peak_budget"] == 1 and table.loc["opposite", "over_optimised"]
    assert table.loc["opposite", "high"] < 0
    assert table.loc["opposite", "change"] == pytest.approx(
        table.loc["opposite", "end"] - table.loc["opposite", "peak"]
    )
    follows = table.loc["follows"]
    assert follows["peak_budget"] == follows["budget"] == 6 and not follows["over_optimised"]
    end = run_curves(run).own.scores[:, -1].mean()
    assert table.loc[SCORER, "end"] == pytest.approx(end)


def test_every_axis_is_a_sum_over_the_log(make_run: MakeRun) -> None:
    run = make_run("r", strategy="reflect", budget=4)
    findings = analyse([run.folder.path], price=Price(2.0))
    table = findings.ledger[findings.ledger["kind"] == "micro"]
    assert set(LEDGER) <= set(table) and table["budget"].tolist() == [1, 2, 3, 4]
    end, own = table.iloc[-1], run_curves(run).own
    for axis in AXES:
        assert end[axis] == own.costs[axis][0, -1]
    frame = load(run.folder.path)
    searches = frame.groupby(["prompt_id", "replicate"]).ngroups
    roles = ("generator", "judge", "scorer")
    tokens = sum(frame[f"{role}_tokens"].fillna(0).sum() for role in roles)
    assert end["tokens"] == pytest.approx(tokens / searches)
    calls = sum((frame[f"{role}_tokens"].fillna(0) > 0).sum() for role in roles)
    assert end["calls"] == pytest.approx(calls / searches)
    assert end["price"] == pytest.approx(end["device_seconds"] / 1800)
    (session,) = run.manifest.sessions
    wall = pd.Timestamp(session["ended"]) - pd.Timestamp(session["started"])
    assert end["wall_seconds"] == pytest.approx(wall.total_seconds() / searches, abs=1e-9)
    (spent,) = findings.spending
    assert spent.due == 2 * spent.hours == pytest.approx(end["price"] * searches)
    assert analyse([run.folder.path]).ledger["price"].isna().all()


def test_tokens_of_an_endpoint_have_a_price_of_their_own(make_run: MakeRun) -> None:
    run = make_run("r", budget=2)
    config = {**run.manifest.config, "judge": {**run.manifest.config["judge"], "kind": "openai"}}
    part = replace(run.parts[0], manifest=replace(run.manifest, config=config))
    costs = {**run.costs, "tokens_judge": np.full(run.index.shape, 5e5)}
    remote = replace(run, parts=(part,), costs=costs)
    seconds = remote.spent("device_seconds", ("generator", "scorer"))
    due = by_draw(remote, Price(3600.0, 4.0))
    assert due == pytest.approx(seconds + 2.0)
    assert np.isnan(by_draw(remote, Price(1.0))).all()


def test_axes_that_order_runs_differently_are_found(make_run: MakeRun) -> None:
    curves = [run_curves(make_run(n, strategy=n, budget=4)) for n in ("best-of-n", "reflect")]
    axes = known_axes(ledger_curves(curves, Price(1.0)))
    assert {*AXES, "price"} <= set(axes) <= set(LEDGER)
    nan = float("nan")
    # Each pair is read at the end of its cheaper run, which another axis may find to be the other.
    rows = [
        ("r", "n", "nfe", 0.2, 0.1, 0.3, ""), ("n", "r", "nfe", nan, nan, nan, "beyond"),
        ("r", "n", "device_seconds", nan, nan, nan, "beyond"),
        ("n", "r", "device_seconds", 0.2, 0.1, 0.3, ""),
        ("r", "n", "tokens", -0.1, -0.3, 0.1, ""), ("n", "r", "tokens", 0.1, -0.1, 0.3, ""),
    ]  # fmt: skip
    columns = ["run", "other", "cost_axis", "difference", "low", "high", "note"]
    (row,) = disagreements_table(by_pair(pd.DataFrame(rows, columns=columns))).to_dict("records")
    assert (row["run"], row["other"], row["axis"], row["other_axis"]) == (
        "r", "n", "nfe", "device_seconds",
    )  # fmt: skip
    assert (row["difference"], row["other_difference"]) == (0.2, -0.2)


def test_the_first_axis_is_device_seconds_where_all_runs_share_a_device(
    make_run: MakeRun, tmp_path: Path
) -> None:
    runs = [make_run(name, strategy=name, budget=4) for name in ("best-of-n", "reflect")]
    findings = analyse([tmp_path / "best-of-n", tmp_path / "reflect"])
    assert findings.axis == "device_seconds"
    sessions = runs[0].manifest.sessions
    other = {**sessions[0], "workers": {"inline": {"device": "cuda", "device_name": "H100"}}}
    manifest = replace(runs[0].manifest, sessions=(other,))
    moved = replace(runs[0], parts=(replace(runs[0].parts[0], manifest=manifest),))
    assert replace(findings, runs=[moved, runs[1]]).axis == "nfe"
    unknown = replace(manifest, sessions=({**other, "workers": {}},))
    lost = replace(runs[0], parts=(replace(runs[0].parts[0], manifest=unknown),))
    assert lost.devices == {None} and replace(findings, runs=[lost]).axis == "nfe"


HEADER = (
    "item_id,text,keywords,proposition_id,dependency,category_broad,category_detailed,tuple,"
    "question_natural_language\n"
)
ROWS = (
    "a,a red bench,,1,0,entity,whole,entity - whole (bench),Is there a bench?\n"
    "a,a red bench,,2,1,attribute,color,attribute - color (red),Is it red?\n"
    "b,a cat,,1,0,entity,whole,entity - whole (cat),Is there a cat?\n"
)


def test_both_programs_of_dpg_bench_are_computed_from_one_log(
    tmp_path: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "q.csv"
    path.write_text(HEADER + ROWS)
    benchmark = DPGBench(path=str(path), own=True)
    run = make_run("r")

    def answers(*words: str) -> list[dict[str, object]]:
        fields = ("question", "expected", "answer", "probability", "weight", "parents", "skill")
        return [
            {field: getattr(Answer("q", "yes", word, 0.9), field) for field in fields}
            for word in words
        ]

    facts = {"value": 0.5, "correct": False, "reason": "", "replicate": 0}
    rows = [
        {"prompt_id": "a", "answers": answers("yes", "yes", "no", "yes"), **facts},
        {"prompt_id": "b", "answers": answers("yes", "no"), **facts},
    ]
    monkeypatch.setattr(evidence, "scoring_benchmark", lambda part: benchmark)
    monkeypatch.setattr(evidence, "read_prompts", lambda folder, manifest: benchmark.prompts())
    monkeypatch.setattr(evidence, "selected_rows", lambda folder: rows)
    table = evidence.dpg_table([run], ["r"]).set_index("measure")
    score = table.loc["score"]
    # a: images (1 + 1)/2 and (0 + 0)/2; b: 1 and 0. Officially a's first question is lost, and its
    # second depends on it, so that a has no score.
    assert score["patched"] == pytest.approx(100 * (0.5 + 0.5) / 2)
    assert score["official"] == pytest.approx(100 * 0.5) and score["difference"] == 0
    assert (score["items"], score["official_items"]) == (2, 1)
    assert (score["lost_rows"], score["lost_items"], score["replaced_items"]) == (1, 1, 0)
    assert table.loc["entity", "official"] == 0  # of the last image only
    assert table.loc["entity", "patched"] == pytest.approx(50)
    assert pd.isna(table.loc["attribute", "official"])
    monkeypatch.setattr(evidence, "scoring_benchmark", lambda part: replace(benchmark, path="none"))
    assert evidence.dpg_table([run], ["r"]).empty


def selecting(logged: LoggedRun, **metrics: np.ndarray) -> LoggedRun:
    """The run as if it had selected the draw of the highest judge's score."""
    searches = logged.searches.assign(selected=logged.judge_score.argmax(axis=1))
    return replace(logged, searches=searches, metrics=metrics)


def test_a_measure_that_follows_the_judge_transfers_and_a_blind_one_does_not(
    make_run: MakeRun,
) -> None:
    logged = make_run("r", budget=6)
    follows = 100 * logged.judge_score - 7  # another scale, and the same order
    constant = np.full(logged.index.shape, 3.0)
    opposite = -logged.judge_score
    run = selecting(logged, follows=follows, constant=constant, opposite=opposite)
    table = transfer_table([run], ["r"]).set_index("measure")
    assert list(table.index) == [JUDGE, SCORER, "follows", "constant", "opposite"]
    gain = (logged.judge_score.max(axis=1) - logged.judge_score.mean(axis=1)).mean()
    assert table.loc[JUDGE, "gain"] == pytest.approx(gain)
    assert table.loc["follows", "gain"] == pytest.approx(100 * gain)
    for name, transfer in (("follows", 1.0), ("opposite", -1.0)):
        row = table.loc[name, ["transfer", "least", "most"]].tolist()
        assert row == pytest.approx([transfer] * 3, rel=1e-4)
    assert table.loc["constant", "gain"] == 0
    assert table.loc["constant", ["transfer"]].isna().all()
    assert table.loc[JUDGE, ["transfer", "least", "most"]].isna().all()
    chosen = run.searches["selected"].to_numpy()
    scorer = logged.value[np.arange(len(chosen)), chosen] - logged.value.mean(axis=1)
    assert table.loc[SCORER, "gain"] == pytest.approx(scorer.mean())


def test_without_a_gain_by_the_judge_there_is_no_transfer(make_run: MakeRun) -> None:
    logged = make_run("r", budget=6)
    metric = logged.judge_score.copy()
    first = replace(selecting(logged, own=metric), searches=logged.searches.assign(selected=0))
    flat = replace(first, judge_score=np.zeros(logged.index.shape))
    table = transfer_table([flat], ["r"]).set_index("measure")
    assert table.loc[JUDGE, "gain"] == 0 and table["transfer"].isna().all()


def test_runs_without_metrics_have_no_rows(make_run: MakeRun) -> None:
    assert transfer_table([make_run("r", budget=4)], ["r"]).empty
