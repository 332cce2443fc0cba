"""An oracle in disguise: a judge that asks the scorer, and says it in words of its own."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.base import Benchmark
from harness.audit.audit import audit
from harness.audit.audited_run import AuditedRun, Options
from harness.audit.checks import leakage
from harness.audit.result import Status
from harness.log.run_folder import RunFolder
from harness.records import Cost, Image, Loading, Prompt, Verdict
from tests.audit.forging import Forger, Rows
from tests.runs import run, stub_plan
from tests.stubs import StubScorer, make_stub_suite


class DisguisedOracle:
    """Has no checkpoint of its own, and never says 0, 1 or one of the scorer's words."""

    @classmethod
    def load(cls, loading: Loading, benchmark: Benchmark) -> DisguisedOracle:
        return cls()

    def judge(
        self, prompts: Sequence[Prompt], images: Sequence[Image], seeds: Sequence[int]
    ) -> list[tuple[Verdict, Cost]]:
        return [
            (Verdict(True, 0.9) if score.correct else Verdict(False, 0.1, "I do not like it"), cost)
            for score, cost in StubScorer(None).score(prompts, images)
        ]


@pytest.fixture(scope="module")
def disguised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("disguised")
    suite, _ = make_stub_suite(root)
    judge = f"{__name__}:{DisguisedOracle.__name__}"
    ask: dict[str, Any] = {"benchmark_options": {"size": "120"}, "judge": judge, "budget": 4}
    run(stub_plan(suite, strategy="reflect", **ask), root / "run")
    return root / "run"


def test_a_disguised_oracle_is_caught(disguised: Path) -> None:
    everything = Options(regenerate=20, rescore=20, plugins=True)
    actual = audit(AuditedRun(RunFolder(disguised), everything))
    assert {result.check for result in actual if result.failed} == {"leakage"}


def test_labelled_it_may_be_one(disguised: Path, tmp_path: Path) -> None:
    shutil.copytree(disguised, tmp_path / "run")
    Forger(tmp_path / "run").config(lambda fields: fields.update(oracle=True))
    result = leakage.check(AuditedRun(RunFolder(tmp_path / "run")))
    assert result.outcome is Status.NOT_APPLICABLE


@pytest.mark.parametrize(
    ("accepted", "differ", "caught"),
    [(49, 0, False), (50, 0, True), (50, 1, False), (9999, 0, False)],
)
def test_luck_is_no_oracle(
    accepted: int, differ: int, caught: bool, disguised: Path, tmp_path: Path
) -> None:
    """Agreement says something only where there was enough of both to agree on."""
    shutil.copytree(disguised, tmp_path / "run")

    def change(result: Rows) -> None:
        for index, row in enumerate(result):
            row["correct"] = row["accepted"] = index < accepted
        for row in result[:differ]:
            row["correct"] = False

    forger = Forger(tmp_path / "run")
    forger.rewrite("candidates", change)
    evidence = leakage.check(AuditedRun(forger.folder)).evidence
    assert any("agree on every one" in line for line in evidence) is caught
