"""The sentences, the overview and the chart that a report opens with, against the tables."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from harness.analysis.findings import Findings, analyse
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
    told = " ".join(answer.sentences(findings)[1:])
    assert str(row["run"]) in told
    if row["low"] > 0:
        assert "Above" in told and f"{row['difference']:+.3f}" in told
    elif row["low"] <= 0 <= row["high"]:
        assert "Not told apart" in told and "Above" not in told and "Below" not in told


def test_a_verdict_that_another_axis_turns_round_is_said(findings: Findings) -> None:
    matched = findings.matched.copy()
    against = answer.reference(findings)
    axis = findings.axis
    rows = matched["other"] == against
    matched.loc[rows, ["difference", "low", "high"]] = (0.1, 0.05, 0.15)
    other = replace(findings)
    other.__dict__["matched"] = matched
    assert not answer._disagreements(other, against, axis)
    assert axis == "device_seconds"
    nfe = rows & (matched["cost_axis"] == "nfe")
    matched.loc[nfe, ["difference", "low", "high"]] = (-0.1, -0.15, -0.05)
    (line,) = answer._disagreements(other, against, axis)
    assert line.startswith("The axis matters: at the same NFE") and "below" in line
    assert "device-seconds hang on the machine" in line


def test_the_overview_has_one_line_a_run(findings: Findings) -> None:
    shown = answer.overview(findings).shown
    assert list(shown["run"]) == findings.names
    against = shown.columns[-1]
    assert answer.reference(findings) in against
    assert list(shown[against]).count("(reference)") == 1


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
    scaling = findings.scaling.copy()
    scaling.loc[scaling["run"] == findings.names[0], "tflops"] = float("nan")
    other = replace(findings)
    other.__dict__["scaling"] = scaling
    data = chart.chart(other)
    assert list(data["axes"]) == ["draws", "nfe", "device_seconds"]
    assert data["missing"] == [f"TFLOPs are not known of {findings.names[0]}."]


def test_colours_are_those_of_light_and_of_dark() -> None:
    assert not set(style.COLORS) & set(style.DARK)


def test_one_run_alone_is_not_compared(folders: dict[str, Path]) -> None:
    findings = analyse([folders["wide"]])
    (only,) = answer.sentences(findings)
    assert "scores: micro" in only and "at a budget of one draw" in only
    assert "against" not in " ".join(answer.overview(findings).shown.columns)
