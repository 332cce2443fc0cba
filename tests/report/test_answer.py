"""The sentences, the overview and the chart that a report opens with, against the tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.analysis.findings import Findings, analyse
from harness.report import answer


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
    axis = answer.first_axis(findings.scaling)
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
    axis = answer.first_axis(findings.scaling)
    rows = matched["other"] == against
    matched.loc[rows, ["difference", "low", "high"]] = (0.1, 0.05, 0.15)
    assert not answer._disagreements(matched[rows], against, axis)
    seconds = rows & (matched["cost_axis"] == "device_seconds")
    matched.loc[seconds, ["difference", "low", "high"]] = (-0.1, -0.15, -0.05)
    (line,) = answer._disagreements(matched[rows], against, axis)
    assert line.startswith("The axis matters: at the same device-seconds") and "below" in line


def test_the_overview_has_one_line_a_run(findings: Findings) -> None:
    shown = answer.overview(findings).shown
    assert list(shown["run"]) == findings.names
    against = shown.columns[-1]
    assert answer.reference(findings) in against
    assert list(shown[against]).count("(reference)") == 1


def test_the_chart_holds_the_curves_as_json(findings: Findings) -> None:
    chart = json.loads(json.dumps(answer.chart(findings), allow_nan=False))
    assert [run["name"] for run in chart["runs"]] == findings.names
    scaling = findings.scaling
    for run in chart["runs"]:
        own = scaling[
            scaling["own"] & (scaling["kind"] == "macro") & (scaling["run"] == run["name"])
        ]
        assert run["curves"]["macro"]["score"] == pytest.approx(list(own["score"]), rel=1e-4)
        assert run["curves"]["macro"]["nfe"] == pytest.approx(list(own["nfe"]), rel=1e-4)


def test_one_run_alone_is_not_compared(folders: dict[str, Path]) -> None:
    findings = analyse([folders["wide"]])
    (only,) = answer.sentences(findings)
    assert "scores: micro" in only and "at a budget of one draw" in only
    assert "against" not in " ".join(answer.overview(findings).shown.columns)
