"""Costs that nobody counted are unknown, and so is every sum that they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from click.testing import CliRunner

from harness.analysis.findings import analyse
from harness.audit.audited_run import AuditedRun, Options
from harness.audit.checks import costs as audited_costs
from harness.audit.result import Status
from harness.cli import cli
from harness.log.costs import COSTS, sums
from harness.log.manifest import Manifest
from harness.log.run_folder import RunFolder
from harness.log.schema import TABLES
from harness.records import FREE, Cost, Made, Request
from harness.report import build
from harness.runs.summary import summarise
from tests.reference.test_report import differences
from tests.runs import run, stub_plan
from tests.stubs import StubGenerator, make_stub_suite

ASKS: dict[str, dict[str, Any]] = {
    "best-of-n": {},
    "first-accepted": {"strategy_options": {"select": "first-accepted"}},
    "reflect": {"strategy": "reflect"},
}


class Uncounted(StubGenerator):
    """A generator that counts its evaluations and not its FLOPs."""

    def generate(self, requests: Sequence[Request]) -> list[Made]:
        made = super().generate(requests)
        return [replace(each, cost=replace(each.cost, flops=None)) for each in made]


@pytest.fixture(scope="module")
def uncounted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of such a generator, each with its report; the judge fails on some draws."""
    root = tmp_path_factory.mktemp("uncounted")
    suite, faults = make_stub_suite(root)
    text = suite.read_text().replace("tests.stubs:StubGenerator", f"{__name__}:Uncounted")
    suite.write_text(text)
    faults.add("generator", "error", "on-3")
    faults.add("judge", "error", "on-5")
    for name, ask in ASKS.items():
        run(stub_plan(suite, **{"strategy": "best-of-n", **ask}), root / name)
        build.report([root / name], root / name / "report", build.Options())
    return root


def test_a_sum_with_an_unknown_part_is_unknown() -> None:
    assert sum([Cost(nfe=2), Cost(nfe=1, flops=3.0)], FREE) == Cost(nfe=3, flops=None)
    assert sum([Cost(flops=2.0), Cost(flops=3.0)], FREE).flops == 5.0
    assert FREE.flops == 0


def test_only_a_role_that_worked_leaves_its_cost_unknown() -> None:
    columns = {name: pa.array([1.0, 1.0, 1.0]) for name in COSTS}
    columns["generator_flops"] = pa.array([5.0, None, 6.0])
    columns["judge_flops"] = pa.array([1.0, None, None])
    columns["scorer_flops"] = pa.array([None, None, 2.0])
    table = pa.table(
        {
            "error_role": [None, "generator", "scorer"],
            "accepted": pa.array([True, None, False]),
            "correct": pa.array([None, None, True]),
            "metrics": pa.nulls(3, TABLES["candidates"].field("metrics").type),
            **columns,
        }
    )
    replies = TABLES["replies"].empty_table()
    result = sums(table, replies, judged=True)
    assert result["generator_flops"] == 11 and result["scorer_flops"] == 2
    assert result["judge_flops"] is None
    assert sums(table, replies, judged=False)["judge_flops"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ASKS)
def test_no_table_takes_the_rest_for_the_whole(name: str, uncounted: Path) -> None:
    result = analyse([uncounted / name])
    for frame in (result.results, result.scaling):
        for column in ("tflops", "tflops_search", "tflops_generator"):
            assert frame[column].isna().all(), column
        known = frame["score"].notna()
        assert (frame.loc[known, "nfe"] > 0).all() and (frame.loc[known, "draws"] > 0).all()
    tables = uncounted / name / "report" / "tables"
    for suffix in ("md", "tex"):
        assert "not counted" in (tables / f"results.{suffix}").read_text()
    assert pd.read_csv(tables / "results.csv")["tflops"].isna().all()
    page = (uncounted / name / "report" / "index.html").read_text()
    assert "FLOPs not counted" in page


@pytest.mark.slow
def test_costs_that_are_counted_stay(uncounted: Path) -> None:
    result = analyse([uncounted / "best-of-n", uncounted / "first-accepted"])
    matched = result.matched.set_index(["cost_axis"])
    assert set(matched.loc["tflops", "note"]) == {"this cost was not recorded"}
    assert matched.loc["tflops", "other_needs"].isna().all()
    assert np.isfinite(matched.loc["draws", "cost"]).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ASKS)
def test_totals_and_summary_leave_it_open(name: str, uncounted: Path) -> None:
    totals = Manifest.read(RunFolder(uncounted / name).manifest).totals
    assert totals["generator_flops"] is None
    assert totals["generator_nfe"] > 0 and totals["scorer_flops"] > 0
    assert summarise(uncounted / name).cost["generator"]["flops"] is None
    output = CliRunner().invoke(cli, ["show", str(uncounted / name)]).output
    (line,) = (line for line in output.splitlines() if line.startswith("generator "))
    assert "FLOPs not counted" in line and "NFE" in line


@pytest.mark.slow
@pytest.mark.parametrize("name", ASKS)
def test_an_audit_agrees(name: str, uncounted: Path) -> None:
    audited = AuditedRun(RunFolder(uncounted / name), Options(plugins=True))
    result = audited_costs.check(audited)
    assert result.outcome is Status.PASS, result.evidence
    assert differences(uncounted / name) == []
    assert any("FLOPs not counted" in line for line in audited_costs.check(audited).evidence)
