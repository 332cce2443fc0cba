"""A run in which models failed: no false alarms, every failure counted, none hidden."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.audit.audit import audit
from harness.audit.audited_run import AuditedRun, Options
from harness.audit.checks import regeneration, rescoring
from harness.audit.result import Result, Status
from harness.log.images import image_path
from harness.log.run_folder import RunFolder
from tests.audit.forging import Forger, Rows
from tests.runs import run, stub_plan
from tests.stubs import Faults, make_stub_suite

FAILING = {"generator": "3", "judge": "5", "scorer": "7"}
"""Which prompt each role fails on, whatever the draw."""


@pytest.fixture(scope="module")
def wounded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("wounded")
    suite, faults = make_stub_suite(root)
    own = Faults.make(root / "judge")
    (root / "judge" / "config.json").write_text('{"judge": true}')
    generator, judge = suite.read_text().split("[judge]")
    judge = judge.replace(f"{root / 'faults'}", f"{root / 'judge'}", 1)
    suite.write_text(f"{generator}[judge]{judge}")
    for role, word in FAILING.items():
        (own if role == "judge" else faults).add(role, "error", f"on-{word}")
    run(stub_plan(suite, strategy="best-of-n", budget=3, replicates=2), root / "run")
    return root / "run"


def results(path: Path, models: int = 1000) -> dict[str, Result]:
    options = Options(regenerate=models, rescore=models, plugins=True)
    return {result.check: result for result in audit(AuditedRun(RunFolder(path), options))}


def test_failures_are_no_false_alarms(wounded: Path) -> None:
    actual = results(wounded)
    assert not [result for result in actual.values() if result.failed]
    assert "20 of 20 searches, 4 without an image; 60 draws, 18 failed" in (
        actual["completeness"].evidence
    )
    assert "0 of 6 draws logged as failed come out well here" in actual["regeneration"].evidence
    # What the judge failed on was scored, and the reverse.
    assert actual["rescoring"].evidence == (
        "the judge was asked again about 48 images",
        "the scorer was asked again about 48 images",
    )


def of(role: str, result: Rows) -> dict[str, Any]:
    return next(row for row in result if row["error_role"] == role)


def edit(role: str, **values: Any) -> Callable[[Forger], None]:
    def forge(forger: Forger) -> None:
        forger.rewrite("candidates", lambda result: of(role, result).update(values))

    return forge


def _drop(forger: Forger) -> None:
    """A failed draw vanishes; the search's own count is set right."""
    gone = of("generator", forger.read("candidates"))
    key = {name: gone[name] for name in ("prompt_id", "replicate")}

    def shorten(result: Rows) -> None:
        next(r for r in result if key.items() <= r.items()).update(draws=2)

    forger.rewrite("searches", shorten)
    forger.rewrite(
        "candidates", lambda result: [r for r in result if r["draw_id"] != gone["draw_id"]]
    )


def _pass_off(forger: Forger) -> None:
    """A failed draw gets the image and the verdicts of a good one."""

    def change(result: Rows) -> None:
        good = next(row for row in result if row["correct"] and row["accepted"] is not None)
        row = of("generator", result)
        columns = ("image", "accepted", "judge_score", "judge_sentence", "correct", "reason",
                   "detections", "error_role", "error", "attempts")  # fmt: skip
        costs = [name for name in row if name.split("_")[0] in FAILING and name != "generator"]
        row.update({name: good[name] for name in (*columns, *costs)})

    forger.rewrite("candidates", change)


def _verdict_for_a_failure(forger: Forger) -> None:
    edit("judge", error_role=None, error=None, accepted=True, judge_score=1.0, judge_sentence="",
         attempts=1, judge_nfe=0, judge_flops=1e6, judge_device_seconds=1e-6, judge_tokens=3,
         judge_worker="w", judge_batch="999")(forger)  # fmt: skip


def _count_down(forger: Forger) -> None:
    forger.manifest(lambda fields: fields["totals"].update(draws_failed=0))


def _choose_a_failed_one(forger: Forger) -> None:
    row = of("judge", forger.read("candidates"))

    def change(result: Rows) -> None:
        chosen = {"selected_index": row["draw_index"], "selected_id": row["draw_id"], "error": None}
        key = {name: row[name] for name in ("prompt_id", "replicate")}
        next(r for r in result if key.items() <= r.items()).update(chosen)

    forger.rewrite("searches", change)


FORGERIES: dict[str, tuple[str, Callable[[Forger], None]]] = {
    "a failure deleted": ("completeness", _drop),
    "a failure passed off as a good draw": ("regeneration", _pass_off),
    "a verdict for what the judge failed on": ("rescoring", _verdict_for_a_failure),
    "an error taken away": ("rows", edit("generator", error_role=None, error=None)),
    "the generator's failure put on the scorer": ("rows", edit("generator", error_role="scorer")),
    "a failure after one try": ("rows", edit("scorer", attempts=1)),
    "a failed draw that was scored": ("rows", edit("scorer", correct=True, reason="",
                                                   detections=[])),
    "a cost without an answer": ("costs", edit("scorer", scorer_device_seconds=1.0)),
    "failures counted down": ("completeness", _count_down),
    "a failed draw selected": ("decisions", _choose_a_failed_one),
}  # fmt: skip


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", FORGERIES)
def test_a_hidden_failure_is_caught(name: str, wounded: Path, tmp_path: Path) -> None:
    expected, forge = FORGERIES[name]
    shutil.copytree(wounded, tmp_path / "forged")
    forge(Forger(tmp_path / "forged"))
    models = 1000 if expected in ("regeneration", "rescoring") else 0
    assert results(tmp_path / "forged", models)[expected].failed


def test_a_good_draw_called_failed_is_told(wounded: Path, tmp_path: Path) -> None:
    shutil.copytree(wounded, tmp_path / "forged")
    forger = Forger(tmp_path / "forged")
    nothing = ("image", "accepted", "judge_score", "judge_sentence", "correct", "reason",
               "detections")  # fmt: skip

    def change(result: Rows) -> None:
        row = next(row for row in result if row["error_role"] is None)
        image_path(forger.folder.images, row["image"]).unlink()
        costs = [name for name in row if name.split("_")[0] in FAILING]
        row.update(dict.fromkeys((*nothing, *costs)))
        row.update(error_role="generator", error="out of memory", attempts=4)

    forger.rewrite("candidates", change)
    options = Options(regenerate=1, plugins=True)
    result = regeneration.check(AuditedRun(RunFolder(tmp_path / "forged"), options))
    assert "1 of 7 draws logged as failed come out well here" in result.evidence


def test_a_judge_that_fails_now_has_not_confirmed(wounded: Path, tmp_path: Path) -> None:
    faults = Faults(wounded.parent / "judge")
    faults.add("judge", "error", "on-4")
    try:
        options = Options(rescore=1000, plugins=True)
        result = rescoring.check(AuditedRun(RunFolder(wounded), options))
    finally:
        (faults.folder / "judge.error.on-4").unlink()
    assert result.outcome is Status.FAIL and "no verdict now" in result.evidence[0]
