"""Runs whose draws stop on their way, or whose judge was asked: audited like any, and forgeable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.audit.audit import audit
from harness.audit.audited_run import AuditedRun, Options
from harness.audit.result import Result
from harness.errors import HarnessError
from harness.log import store
from harness.log.run_folder import RunFolder
from tests.audit.forging import Forger, Rows
from tests.runs import run, stub_plan
from tests.stubs import HALVES, REWRITER

PARTIAL = {"strategy": HALVES, "strategy_options": {"renoise": "true"}, "budget": 6}


def results(path: Path) -> dict[str, Result]:
    options = Options(regenerate=1000, rescore=1000, plugins=True)
    return {result.check: result for result in audit(AuditedRun(RunFolder(path), options))}


@pytest.mark.parametrize("ask", [PARTIAL, {"strategy": REWRITER}], ids=["partial", "reply"])
def test_it_passes(suite: Path, tmp_path: Path, ask: dict[str, Any]) -> None:
    run(stub_plan(suite, **ask), tmp_path / "run")
    checks = results(tmp_path / "run")
    # In the suite of stubs judge and scorer share a checkpoint, which is told.
    assert [name for name, result in checks.items() if result.failed] == ["leakage"]
    draws = store.read(RunFolder(tmp_path / "run").log, "candidates").num_rows
    assert checks["regeneration"].evidence[0] == f"{draws} bitwise, 0 within tolerance"


def test_more_steps_than_the_budget_are_seen(suite: Path, tmp_path: Path) -> None:
    run(stub_plan(suite, **PARTIAL), tmp_path / "run")

    def whole(rows: Rows) -> None:
        for row in rows:
            row["stop"] = None if row["prompt_id"] == "00001" else row["stop"]

    Forger(tmp_path / "run").rewrite("candidates", whole)
    budget = results(tmp_path / "run")["budget"]
    assert budget.failed and "prompt 00001" in budget.evidence[0]


def test_another_reply_or_none_is_seen(suite: Path, tmp_path: Path) -> None:
    run(stub_plan(suite, strategy=REWRITER), tmp_path / "run")

    def reword(rows: Rows) -> None:
        rows[0]["reply"] = "something else"

    Forger(tmp_path / "run").rewrite("replies", reword)
    assert results(tmp_path / "run")["decisions"].failed

    def silence(rows: Rows) -> None:
        rows[0]["reply"] = None

    Forger(tmp_path / "run").rewrite("replies", silence)
    assert results(tmp_path / "run")["rows"].failed


def test_a_table_of_replies_that_lacks_some_is_damage(suite: Path, tmp_path: Path) -> None:
    run(stub_plan(suite, strategy=REWRITER), tmp_path / "run")
    log = RunFolder(tmp_path / "run").log
    for shard in log.glob("replies-*"):
        shard.unlink()
    with pytest.raises(HarnessError, match="fewer rows"):
        store.check_agreement(log)
