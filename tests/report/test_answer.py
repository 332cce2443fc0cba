"""The sentences, the overview and the chart that a report opens with, against the tables."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from harness.analysis.findings import Findings, analyse
from harness.analysis.ledger import LEDGER
from harness.price import Price
from harness.report import answer, chart, style


@pytest.fixture(scope="module")
def findings(folders: dict[str, Path]) -> Findings:
    return analyse([folders["chain"], folders["wide"]])


def test_the_first_sentence_names_the_best_run_with_its_score_and_cost(findings: Findings) -> None:
    micro = findings.results[findings.results["kind"] == "micro"]
    best = micro.loc[micro["score"].idxmax()]
    first = answer.sentences(findings)[0]
    assert first.startswith(f"{best['run']} scores highest")
    assert f"{best['score']:.3f}" in first and f"{best['draws']:.2f} draws" in first


def test_others_are_held_against_the_independent_draws(findings: Findings) -> None:
    against = answer.reference(findings)
    assert against == findings.names[[not run.dependent for run in findings.runs].index(True)]
    axis = findings.axis
    (row,) = findings.matched[
        (findings.matched["other"] == against) & (findings.matched["cost_axis"] == axis)
    ].to_dict("records")
    message = " ".join(answer.sentences(findings)[1:])
    assert str(row["run"]) in message
    if row["low"] > 0:
        assert "Above" in message and f"{row['difference']:+.3f}" in message
    elif row["low"] <= 0 <= row["high"]:
        assert (
            "No significant difference" in message
            and "Above" not in message
            and "Below" not in message
        )


def test_axes_that_order_runs_differently_are_said(findings: Findings) -> None:
    matched = findings.matched.copy()
    first, second = findings.names
    rows = matched["run"] == first
    matched.loc[rows, ["difference", "low", "high"]] = (0.1, 0.05, 0.15)
    matched.loc[~rows, ["difference", "low", "high"]] = (-0.1, -0.15, -0.05)
    other = replace(findings)
    other.__dict__["matched"] = matched
    assert "The axis matters" not in " ".join(answer.sentences(other))
    assert findings.axis == "device_seconds"
    nfe = matched["cost_axis"] == "nfe"
    matched.loc[nfe, ["difference", "low", "high"]] *= -1
    matched.loc[nfe, ["low", "high"]] = matched.loc[nfe, ["high", "low"]].to_numpy()
    for name in ("matched_by_pair", "disagreements"):
        other.__dict__.pop(name)
    line = answer.sentences(other)[-1]
    assert line.startswith("The axis matters: at the same draws, TFLOPs, device-seconds")
    assert f"{first} is above {second}; at the same NFE it is the other way round" in line
    assert "seconds hang on the machine" in line
    other.__dict__.pop("axis")
    assert other.axis == "nfe", "seconds of a busy device are not what a page opens on"


def test_the_overview_has_one_line_a_run(findings: Findings) -> None:
    for axis in ("nfe", "tflops"):
        shown = answer.overview(findings, axis).shown
        assert list(shown["run"]) == findings.names
        cost, against, hours = shown.columns[2], shown.columns[-2], shown.columns[-1]
        assert cost == LEDGER[axis] and cost in against and hours.startswith("device-hours")
        assert answer.reference(findings) in against
        assert list(shown[against]).count("(reference)") == 1
    priced = replace(findings, price=Price(2.0))
    assert answer.overview(priced, "price").shown.columns[-1] == "price, whole run"


def test_the_chart_holds_the_curves_as_json(findings: Findings) -> None:
    data = json.loads(json.dumps(chart.chart(findings), allow_nan=False))
    assert [run["name"] for run in data["runs"]] == findings.names
    scaling = findings.scaling
    for run in data["runs"]:
        own = scaling[
            scaling["own"] & (scaling["kind"] == "macro") & (scaling["run"] == run["name"])
        ]
        assert run["curves"]["macro"]["score"] == pytest.approx(list(own["score"]), rel=1e-4)
        assert run["curves"]["macro"]["nfe"] == pytest.approx(list(own["nfe"]), rel=1e-4)


def test_an_axis_that_a_run_has_no_costs_on_is_not_offered_but_named(findings: Findings) -> None:
    ledger = findings.ledger.copy()
    ledger.loc[ledger["run"] == findings.names[0], "tflops"] = float("nan")
    other = replace(findings)
    other.__dict__["ledger"] = ledger
    data = chart.chart(other)
    assert not {"tflops", "price"} & {*data["axes"]} and "nfe" in data["axes"]
    assert f"TFLOPs are not known of {findings.names[0]}." in data["missing"]
    assert "price" not in " ".join(data["missing"])


def test_colours_are_those_of_light_and_of_dark() -> None:
    assert not set(style.COLORS) & set(style.DARK)


def test_one_run_alone_is_not_compared(folders: dict[str, Path]) -> None:
    findings = analyse([folders["wide"]])
    (only,) = answer.sentences(findings)
    assert "scores: micro" in only and "at a budget of one draw" in only
    assert "against" not in " ".join(answer.overview(findings, "nfe").shown.columns)
