"""How runs and findings look in a notebook: short, labelled, and whatever a folder says is text."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import harness
from harness.analysis import analyse
from harness.analysis.findings import Findings
from harness.errors import HarnessError
from harness.seeds import pixel_digest
from tests.audit.forging import Forger
from tests.runs import run, stub_plan
from tests.stubs import make_stub_suite

pytestmark = pytest.mark.usefixtures("import_stubs")


@pytest.fixture
def findings(tmp_path: Path) -> Findings:
    suite, faults = make_stub_suite(tmp_path)
    faults.add("generator", "error", "on-3")
    run(stub_plan(suite, budget=2), tmp_path / "a")
    run(stub_plan(suite, strategy="single", budget=1), tmp_path / "b")
    return analyse([tmp_path / "a", tmp_path / "b"])


def test_a_run_is_a_line_and_a_row(findings: Findings) -> None:
    first = findings.runs[0]
    text = repr(first)
    assert text.startswith("<LoggedRun best-of-n-2 on ") and len(text) < 300
    assert "10 searches of 10 prompts" in text and "MINIATURE models" in text
    known = first.scores()[np.isfinite(first.scores())]
    assert f"micro {known.mean():.3f}" in text
    html = first._repr_html_()
    assert html.count("<tr>") == 2 and f"{known.mean():.3f}" in html
    nothing = dataclasses.replace(first, scored=np.zeros_like(first.scored))
    assert "micro –" in repr(nothing)


def test_findings_name_their_runs_and_what_must_be_said(findings: Findings) -> None:
    text = repr(findings)
    assert text.startswith("<Findings of 2 runs, micro: best-of-n-2 ") and "single" in text
    assert "MINIATURE models" in text and len(text) < 300
    html = findings._repr_html_()
    assert html.count("<tr>") == 3 and html.count("<p>") == len(findings.warnings)


def test_whatever_a_folder_says_is_text(findings: Findings, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>\x1b[2J" + "x" * 10_000
    Forger(tmp_path / "a").config(lambda config: config.update(suite=evil))
    [first] = analyse([tmp_path / "a"]).runs
    for text in (repr(first), first._repr_html_()):
        assert len(text) < 2000 and "\x1b" not in text
    assert "<script>" not in first._repr_html_()


def test_an_image_is_found_by_its_draw(findings: Findings, tmp_path: Path) -> None:
    frame = harness.load(tmp_path / "a")
    draw = frame.dropna(subset="image").iloc[3]
    picture = harness.image(tmp_path / "a", draw["draw_id"])
    assert pixel_digest(np.asarray(picture)) == draw["image"]
    failed = frame[frame["image"].isna()].iloc[0]
    for name, message in ((failed["draw_id"], "failed"), ("nothing", "has no draw")):
        with pytest.raises(HarnessError, match=message):
            harness.image(tmp_path / "a", name)
    for path in (tmp_path / "a" / "images").glob("*/*.png"):
        path.write_bytes(b"")
    with pytest.raises(HarnessError, match="damaged"):
        harness.image(tmp_path / "a", draw["draw_id"])
