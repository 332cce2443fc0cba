"""A run that took draws over from another is audited like any, and the table says what it took."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from harness.audit.audit import audit
from harness.audit.audited_run import AuditedRun, Options
from harness.audit.result import Result, Status
from harness.log.manifest import Manifest
from harness.log.run_folder import RunFolder
from harness.log.schema import origin
from tests.audit.forging import Forger, Rows
from tests.runs import run, stub_plan
from tests.stubs import REWRITER


@pytest.fixture(scope="module")
def grown(honest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The good run's searches with a larger budget: what it drew is taken over, chains included."""
    folder = tmp_path_factory.mktemp("grown") / "run"
    ready = stub_plan(honest.parent / "stub.toml", strategy="reflect", budget=7)
    run(ready, folder, reuse=[honest])
    return folder


def results(path: Path, against: Path | None = None) -> dict[str, Result]:
    options = Options(regenerate=1000, rescore=1000, plugins=True, against=against)
    return {result.check: result for result in audit(AuditedRun(RunFolder(path), options))}


def test_it_passes_and_says_what_it_took(honest: Path, grown: Path) -> None:
    actual = results(grown)
    assert not [result for result in actual.values() if result.failed]
    shared = len(Forger(honest).read("candidates"))
    draws = len(Forger(grown).read("candidates"))
    assert shared < draws
    assert f"{shared} draws of other runs, with what they cost there" in actual["costs"].evidence
    assert actual["regeneration"].evidence[0] == f"{draws} bitwise, 0 within tolerance"


@pytest.mark.slow
def test_what_it_took_is_its_claim_until_that_run_is_given(honest: Path, grown: Path) -> None:
    run = Forger(honest).folder
    result = results(grown)["origins"]
    assert result.outcome is Status.CLAIMED and "not checked" in result.evidence[0]
    checked = results(grown, against=honest)["origins"]
    assert checked.outcome is Status.PASS and "held against it" in checked.evidence[0]
    other = results(grown, against=grown)["origins"]
    assert other.outcome is Status.CLAIMED and Manifest.read(run.manifest).run in other.evidence[0]


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    "values", [{"judge_score": 0.5}, {"correct": True}, {"generator_flops": 1.0}, {"draw_id": "f"}]
)
def test_what_it_did_not_take_is_told_by_that_run(
    honest: Path, grown: Path, tmp_path: Path, values: dict[str, Any]
) -> None:
    forger = Forger(Path(shutil.copytree(grown, tmp_path / "run")))

    def forge(rows: Rows) -> None:
        next(row for row in rows if origin(row["generator_worker"]) and not row["correct"]).update(
            values
        )

    forger.rewrite("candidates", forge)
    assert results(tmp_path / "run", against=honest)["origins"].outcome is Status.FAIL


@pytest.mark.parametrize("column", ["generator_device_seconds", "judge_tokens", "scorer_flops"])
def test_what_it_took_has_its_price(grown: Path, tmp_path: Path, column: str) -> None:
    forger = Forger(Path(shutil.copytree(grown, tmp_path / "run")))

    def forge(rows: Rows) -> None:
        next(row for row in rows if origin(row["generator_worker"]))[column] = None

    forger.rewrite("candidates", forge)
    assert results(tmp_path / "run")["costs"].outcome is Status.FAIL


@pytest.mark.slow
def test_replies_that_it_took_are_held_against_that_run(honest: Path, tmp_path: Path) -> None:
    suite, pool, grown = honest.parent / "stub.toml", tmp_path / "pool", tmp_path / "grown"
    run(stub_plan(suite, strategy=REWRITER, budget=3), pool)
    run(stub_plan(suite, strategy=REWRITER, budget=5), grown, reuse=[pool])
    assert not [result for result in results(grown).values() if result.failed]
    checked = results(grown, against=pool)["origins"]
    assert checked.outcome is Status.PASS and "replies" in checked.looked_at
    for name, value in {"reply": "another", "judge_tokens": 1}.items():
        path = Path(shutil.copytree(grown, tmp_path / name))

        def forge(rows: Rows, name: str = name, value: Any = value) -> None:
            next(row for row in rows if origin(row["judge_worker"]))[name] = value

        Forger(path).rewrite("replies", forge)
        assert results(path, against=pool)["origins"].outcome is Status.FAIL
