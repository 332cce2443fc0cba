"""All draws as CSV: every value comes back, and no cell is a formula."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pandas as pd
import pytest

import harness
from harness.errors import UsageError
from harness.interop.draws import cell, export_csv
from tests.audit.forging import Forger
from tests.runs import run, stub_plan
from tests.stubs import make_stub_suite

pytestmark = pytest.mark.usefixtures("import_stubs")

RISKY = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =1", "＝1", "'x", "'=1"]  # noqa: RUF001
PLAIN = ["a cat", "a, b", 'say "x"', "a\nb", "1 = 1", "", "猫", "x;=1"]


@pytest.mark.parametrize("text", RISKY + PLAIN)
def test_no_text_is_a_formula_and_every_text_comes_back(text: str) -> None:
    written = str(cell(text))
    assert not written.lstrip().startswith(tuple("=+-@＝＋－＠"))  # noqa: RUF001
    assert written[:1] not in ("\t", "\r", "\n")
    assert (written.removeprefix("'") if written.startswith("'") else written) == text


def test_every_draw_is_a_row_with_its_scores(tmp_path: Path) -> None:
    suite, faults = make_stub_suite(tmp_path)
    faults.add("generator", "error", "on-3")
    metrics = (f"tests.stubs:StubMetric={tmp_path / 'faults'}",)
    run(stub_plan(suite, budget=3, metrics=metrics, keep_images="none"), tmp_path / "run")
    Forger(tmp_path / "run").rewrite(
        "candidates", lambda rows: [{**row, "judge_sentence": "=cmd|x"} for row in rows]
    )
    path, rows = export_csv(tmp_path / "run", tmp_path / "out")
    frame = harness.load(tmp_path / "run")
    shown = pd.read_csv(path, dtype={"prompt_id": str}, float_precision="round_trip")
    assert path == tmp_path / "out" / "draws.csv" and rows == len(frame) == len(shown) == 30
    for name in ("prompt_id", "draw_index", "value", "judge_score", "generator_flops"):
        pd.testing.assert_series_equal(shown[name], frame[name], check_dtype=False)
    assert shown["selected"].tolist() == frame["selected"].tolist()
    assert shown["correct"].isna().sum() == frame["correct"].isna().sum() == 3
    [name] = [name for name in shown if name.startswith("metric:")]
    measured = [None if row is None else row[name[7:]] for row in frame["metrics"]]
    assert shown[name].astype(object).where(shown[name].notna(), None).tolist() == measured
    detections = json.loads(shown["detections"].dropna().iloc[0])
    assert detections[0]["label"] == "cat"
    with path.open(newline="", encoding="utf-8") as file:
        assert all(row["judge_sentence"] == "'=cmd|x" for row in csv.DictReader(file))


def test_a_file_may_be_named_and_none_is_overwritten(tmp_path: Path) -> None:
    run(stub_plan(make_stub_suite(tmp_path)[0], budget=1), tmp_path / "run")
    path, _ = export_csv(tmp_path / "run", tmp_path / "new" / "x.csv")
    assert path == tmp_path / "new" / "x.csv" and path.is_file()
    with pytest.raises(UsageError, match="exists"):
        export_csv(tmp_path / "run", path)
