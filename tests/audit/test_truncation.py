"""A log that hides, or makes up, which texts the text encoder cut fails its audit."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from harness.audit.audit import audit
from harness.audit.audited_run import AuditedRun, Options
from harness.log.run_folder import RunFolder
from tests.audit.conftest import give_judge_a_folder
from tests.audit.forging import Forger, Rows
from tests.engine.test_truncation import suite_of
from tests.runs import run, stub_plan


@pytest.fixture(scope="module")
def truncated_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a generator that can tell, save of prompt 5; prompt 3 is cut."""
    root = tmp_path_factory.mktemp("run")
    suite = suite_of(root, "tests.engine.test_truncation:Telling")
    give_judge_a_folder(suite)
    run(stub_plan(suite, budget=1), root / "run")
    return root / "run"


def failures(path: Path) -> dict[str, str]:
    results = audit(AuditedRun(RunFolder(path), Options(plugins=True)))
    return {result.check: " ".join(result.evidence) for result in results if result.failed}


FORGED = {
    "hidden": ("00003", [], "its texts that were cut are text, not none"),
    "made up": ("00004", ["text"], "its texts that were cut are none, not text"),
    "another": ("00003", ["feedback"], "its texts that were cut are text, not feedback"),
    "claimed": ("00005", [], "nobody can tell which of its texts were cut: scripted"),
}


@pytest.mark.parametrize("forgery", FORGED)
def test_what_was_cut_is_recomputed(truncated_run: Path, tmp_path: Path, forgery: str) -> None:
    prompt, truncated, output = FORGED[forgery]
    shutil.copytree(truncated_run, tmp_path / "run")

    def change(rows: Rows) -> None:
        for row in rows:
            if row["prompt_id"] == prompt:
                row["truncated"] = truncated

    assert not failures(tmp_path / "run")
    Forger(tmp_path / "run").rewrite("candidates", change)
    result: dict[str, Any] = failures(tmp_path / "run")
    assert list(result) == ["identities"] and output in result["identities"]


def test_what_was_never_written_down_is_no_failure(truncated_run: Path, tmp_path: Path) -> None:
    shutil.copytree(truncated_run, tmp_path / "run")

    def change(rows: Rows) -> None:
        for row in rows:
            row["truncated"] = None

    Forger(tmp_path / "run").rewrite("candidates", change)
    assert not failures(tmp_path / "run")
