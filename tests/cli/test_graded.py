"""A benchmark whose scorer grades by questions, whole: run, show, report, compare and audit."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import harness
from harness.analysis.findings import analyse
from harness.registry import import_paths
from harness.runs.summary import summarise
from tests.audit.conftest import give_judge_a_folder
from tests.audit.forging import Forger
from tests.stubs import make_stub_suite
from tests.terminal import Terminal

GRADED = ["--benchmark", "tests.stubs:GradedBenchmark", "--threads", "1"]
GRADES = {0.25, 0.5, 1.0}


@pytest.fixture
def terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Terminal:
    return Terminal(capsys, monkeypatch)


@pytest.fixture
def runs(terminal: Terminal, tmp_path: Path) -> list[Path]:
    suite, _ = make_stub_suite(tmp_path)
    give_judge_a_folder(suite)
    places = []
    for name, budget in (("four", 4), ("one", 1)):
        places.append(tmp_path / name)
        options = ["--model", str(suite), "--budget", str(budget), "--out", str(places[-1])]
        assert terminal("run", *GRADED, *options) == 0
    return places


@pytest.mark.slow
def test_scores_are_means_of_grades_everywhere(
    terminal: Terminal, runs: list[Path], tmp_path: Path
) -> None:
    frame = harness.load(runs[0])
    assert set(frame["value"]) == GRADES
    assert frame["correct"].tolist() == (frame["value"] == 1).tolist()
    assert frame["detections"].isna().all() and frame["answers"].map(len).eq(2).all()
    first = frame["answers"][0][1]
    assert (first["question"], first["weight"], list(first["parents"]), first["skill"]) == (
        "Is it red?", 2.0, [0], "color"
    )  # fmt: skip
    chosen = frame[frame["selected"]]
    micro = chosen["value"].mean()
    assert 0 < micro < 1 and micro not in (chosen["correct"].mean(), 1)
    summary = summarise(runs[0])
    assert summary.micro is not None and summary.micro.value == pytest.approx(micro)
    assert terminal("show", runs[0]) == 0
    assert f"{micro:.3f}" in terminal.out

    with import_paths(allowed=True):
        findings = analyse([str(run) for run in runs])
    results = findings.results
    row = results[(results["kind"] == "micro") & (results["run"] == findings.names[0])]
    assert row["score"].item() == pytest.approx(micro)
    # Every subset of each search's draws, written out.
    curves = findings.curves[0]
    values = np.stack([group["value"] for _, group in frame.groupby("prompt_id")])
    scores = np.stack([group["judge_score"] for _, group in frame.groupby("prompt_id")])
    for selector, pick in {
        "score": lambda v, s: v[np.argmax(s)],
        "oracle": lambda v, s: v.max(),
        "random": lambda v, s: v.mean(),
    }.items():
        curve = curves.get(selector)
        assert curve is not None
        for n in range(1, 5):
            expected = [
                np.mean([pick(v[list(c)], s[list(c)]) for c in combinations(range(4), n)])
                for v, s in zip(values, scores, strict=True)
            ]
            assert curve.at(n) == pytest.approx(np.array(expected))

    assert terminal("report", *runs, "--out", tmp_path / "report") == 0
    assert f"{micro:.3f}" in (tmp_path / "report" / "index.html").read_text()
    assert terminal("compare", *runs) == 0
    one = harness.load(runs[1])["value"].mean()
    assert f"{one - micro:+.3f}" in terminal.out


def audited(terminal: Terminal, folder: Path, code: int) -> dict[str, Any]:
    """The results of an audit by check."""
    file = folder.parent / "audit.json"
    assert terminal("audit", folder, "--rescore", "20", "--json", file) == code
    [checks] = json.loads(file.read_text()).values()
    return {check["check"]: check for check in checks}


@pytest.mark.slow
def test_a_grade_is_audited_by_its_evidence(terminal: Terminal, runs: list[Path]) -> None:
    checks = audited(terminal, runs[0], 0)
    for name in ("rows", "verdicts", "rescoring", "costs"):
        assert checks[name]["outcome"] == "pass", checks[name]

    def better(rows: list[dict[str, Any]]) -> None:
        next(row for row in rows if row["value"] == 0.5)["value"] = 0.75

    def surer(rows: list[dict[str, Any]]) -> None:
        row = next(row for row in rows if row["value"] == 0.25)
        row["answers"][1]["probability"] = 1.0

    for change in (better, surer):
        forger = Forger(runs[0])
        before = forger.read("candidates")
        forger.rewrite("candidates", change)
        checks = audited(terminal, runs[0], 1)
        assert checks["verdicts"]["outcome"] == "fail"
        assert "by its evidence it is" in checks["verdicts"]["evidence"][0]
        forger.rewrite("candidates", lambda rows, before=before: before)
