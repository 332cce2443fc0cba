"""A report of the run, forged: every table, and what people read of it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.audit.audited_run import AuditedRun, Options
from harness.audit.checks import report as checked
from harness.audit.result import CannotCheck, Result, Status
from harness.log.run_folder import RunFolder
from harness.price import Price
from harness.report import build
from tests.runs import run, stub_plan
from tests.stubs import make_stub_suite

RUNS: dict[str, dict[str, Any]] = {
    "best-of-n": {"budget": 5, "replicates": 2},
    "first-accepted": {"strategy_options": {"select": "first-accepted"}, "budget": 4},
    "reflect": {"strategy": "reflect", "budget": 4},
    "beam": {"strategy": "reflect-beam", "budget": 6},
    "single": {"strategy": "single", "budget": 1},
}


Wounded = Callable[[str], Path]


@pytest.fixture(scope="module")
def wounded(tmp_path_factory: pytest.TempPathFactory) -> Wounded:
    """Runs in which every role fails on some prompts, each with its report; made when asked for."""
    root = tmp_path_factory.mktemp("wounded")
    suite, faults = make_stub_suite(root)
    for role, word in (("generator", 3), ("judge", 5), ("scorer", 7)):
        faults.add(role, "error", f"on-{word}")

    @cache
    def make(name: str) -> Path:
        folder = root / name
        run(stub_plan(suite, **{"strategy": "best-of-n", **RUNS[name]}), folder)
        options = build.Options(gallery=("none",), price=Price(2.0 if name == "beam" else None))
        build.report([folder], folder / "report", options)
        return folder

    return make


def check(path: Path, **options: Any) -> Result:
    return checked.check(AuditedRun(RunFolder(path), Options(plugins=True, **options)))


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_an_honest_report_passes(name: str, wounded: Wounded) -> None:
    result = check(wounded(name))
    assert result.outcome is Status.PASS, result.evidence
    assert result.evidence[1:2] == ("6 Markdown and LaTeX files say what the CSV files do",)


def table(name: str, column: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    """Changes a column of one row that has a number there."""

    def forge(folder: Path) -> None:
        path = folder / "tables" / f"{name}.csv"
        frame = pd.read_csv(path, dtype={column: object})
        row = frame[column].notna().to_numpy().nonzero()[0][-1]
        frame.loc[row, column] = change(frame.loc[row, column])
        frame.to_csv(path, index=False)

    return forge


def more(value: Any) -> float:
    return float(value) + 0.01


def text(name: str, change: Callable[[str], str]) -> Callable[[Path], None]:
    def forge(folder: Path) -> None:
        path = folder / name
        before = path.read_text()
        assert change(before) != before
        path.write_text(change(before))

    return forge


def _drop_curve(folder: Path) -> None:
    path = folder / "tables" / "curves.csv"
    frame = pd.read_csv(path)
    frame[frame["selector"] != "oracle"].to_csv(path, index=False)


def _drop_budget(folder: Path) -> None:
    path = folder / "tables" / "curves.csv"
    frame = pd.read_csv(path)
    frame[frame["budget"] != 3].to_csv(path, index=False)


def _row_twice(folder: Path) -> None:
    path = folder / "tables" / "gap.csv"
    frame = pd.read_csv(path)
    pd.concat([frame, frame.iloc[:1]]).to_csv(path, index=False)


def _other_figure(folder: Path) -> None:
    path = folder / "figures" / "scaling.svg"
    path.write_text(path.read_text().replace("<path", "<path opacity='0.9'", 1))


FORGERIES: dict[str, Callable[[Path], None]] = {
    "a score": table("results", "score", more),
    "an interval's end": table("results", "low", more),
    "an interval's method": table("results", "method", lambda old: "exact"),
    "a cost": table("results", "tflops_generator", more),
    "a cost with padding": table("results", "tflops_padded", more),
    "failed draws": table("results", "draws_failed", lambda old: 0),
    "what would have been detectable": table("results", "detectable_unpaired", more),
    "a point of a curve": table("curves", "score", more),
    "a curve's band": table("curves", "high", more),
    "a curve's cost": table("curves", "device_seconds", more),
    "a curve left out": _drop_curve,
    "a budget left out": _drop_budget,
    "which curve is the run's": table("curves", "own", lambda old: "True"),
    "a gap": table("gap", "gap", more),
    "a gap's end": table("gap", "high", more),
    "a row twice": _row_twice,
    "a table left out": lambda folder: (folder / "tables" / "gap.csv").unlink(),
    "a Markdown file": text("tables/results.md", lambda t: re.sub(r"0\.\d", "0.9", t, count=1)),
    "a LaTeX file": text("tables/curves.tex", lambda t: re.sub(r"0\.\d", "0.9", t, count=1)),
    "a cell of the page": text("index.html", lambda t: re.sub(r"<td>0\.\d", "<td>0.9", t, count=1)),
    "a note of the page": text("index.html", lambda t: t.replace("searches ended", "ended", 1)),
    "a warning taken off": text(
        "index.html", lambda t: re.sub(r'<p class="warning".*?</p>', "", t, count=1)
    ),
    "the words of a figure": text("index.html", lambda t: t.replace("at budget 1,", "at 0,")),
    "a figure that is none of the report's": _other_figure,
    "the answer in words": text("index.html", lambda t: t.replace("scores: micro", "scores: 9", 1)),
    "a point of the chart": text(
        "index.html", lambda t: re.sub(r"(score&#34;:\[)0\.\d", r"\g<1>0.9", t, count=1)
    ),
}


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_report_is_caught(name: str, wounded: Wounded, tmp_path: Path) -> None:
    shutil.copytree(wounded("first-accepted") / "report", tmp_path / "report")
    FORGERIES[name](tmp_path / "report")
    result = check(wounded("first-accepted"), report=tmp_path / "report")
    assert result.outcome is Status.FAIL, result.evidence


def test_an_answer_that_was_not_checked_is_not_passed_over(
    wounded: Wounded, tmp_path: Path
) -> None:
    shutil.copytree(wounded("first-accepted") / "report", tmp_path / "report")
    text("index.html", lambda t: t.replace("&#34;price&#34;", "&#34;cost&#34;", 1))(
        tmp_path / "report"
    )
    result = check(wounded("first-accepted"), report=tmp_path / "report")
    assert any("were NOT held to the log" in line for line in result.evidence), result.evidence
    whole = check(wounded("first-accepted"))
    assert not any("NOT" in line for line in whole.evidence), whole.evidence


@pytest.mark.slow
def test_another_seed_gives_other_intervals(wounded: Wounded, tmp_path: Path) -> None:
    options = build.Options(gallery=("none",), seed=3)
    build.report([wounded("best-of-n")], tmp_path / "report", options)
    one = check(wounded("best-of-n"), report=tmp_path / "report", report_seed=3)
    assert one.outcome is Status.PASS
    other = check(wounded("best-of-n"), report=tmp_path / "report")
    assert other.outcome is Status.FAIL and "low" in " ".join(other.evidence)


@pytest.mark.slow
def test_without_a_report_there_is_nothing_to_check(wounded: Wounded, tmp_path: Path) -> None:
    shutil.copytree(wounded("reflect"), tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "report")
    with pytest.raises(CannotCheck, match="no report is in the run's folder"):
        check(tmp_path / "run")


@pytest.mark.slow
def test_a_report_of_several_runs_is_not_this_one_s(wounded: Wounded, tmp_path: Path) -> None:
    options = build.Options(gallery=("none",), force=True)
    build.report([wounded("single"), wounded("best-of-n")], tmp_path / "report", options)
    with pytest.raises(CannotCheck, match="several runs"):
        check(wounded("single"), report=tmp_path / "report")


@pytest.mark.slow
def test_a_table_left_out_is_no_way_out(wounded: Wounded, tmp_path: Path) -> None:
    (tmp_path / "report" / "tables").mkdir(parents=True)
    assert check(wounded("single"), report=tmp_path / "report").outcome is Status.FAIL
