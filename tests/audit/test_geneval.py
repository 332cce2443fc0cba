"""A GenEval run of tiny networks in the real formats: its FLOPs and verdicts follow."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.base import Benchmark, GradingPasses
from benchmarks.geneval.benchmark import GenEval
from harness.audit.audited_run import AuditedRun, Options
from harness.audit.checks import flops, verdicts
from harness.audit.result import CannotCheck, Status
from harness.errors import HarnessError
from harness.flops import count
from harness.log.run_folder import RunFolder
from harness.plan import Ask, plan
from harness.records import Detection, Evidence, Prompt, Score
from tests.audit.forging import Forger, Rows
from tests.reference.operations import operations
from tests.runs import run
from tests.tiny import make_tiny_reflect_suite


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tiny")
    suite = make_tiny_reflect_suite(root)
    ready = plan(Ask(strategy="reflect", budget=3, limit=6, model=str(suite), threads=1))
    run(ready, root / "run")
    return root / "run"


@pytest.fixture
def forger(measured: Path, tmp_path: Path) -> Forger:
    shutil.copytree(measured, tmp_path / "run")
    return Forger(tmp_path / "run")


def audited(path: Path) -> AuditedRun:
    return AuditedRun(RunFolder(path), Options())


@pytest.mark.slow
def test_flops_follow_from_the_configurations(
    measured: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()
    result = flops.check(audited(measured))
    assert capfd.readouterr() == ("", "")
    assert result.outcome is Status.PASS, result.evidence
    assert result.evidence[0].startswith("of the generator, judge, scorer")
    assert "with feedback held to a lower bound" in result.evidence[-1]


def scaled(role: str, by: float, *, feedback: bool = False) -> Callable[[Rows], None]:
    def change(table: Rows) -> None:
        row = next(row for row in table if bool(row["feedback"]) is feedback)
        row[f"{role}_flops"] *= by

    return change


def _fewer_steps(table: Rows) -> None:
    """Half the evaluations, and their FLOPs with them."""
    row = next(row for row in table if not row["feedback"])
    row["generator_nfe"] //= 2
    row["generator_flops"] /= 2


FORGERIES: dict[str, Callable[[Rows], Any]] = {
    "a draw's FLOPs halved": scaled("generator", 0.5),
    "a draw's FLOPs a little less": scaled("generator", 0.99),
    "a draw with feedback for less than one without": scaled("generator", 0.5, feedback=True),
    "a judge's FLOPs halved": scaled("judge", 0.5),
    "a scorer's FLOPs doubled": scaled("scorer", 2),
    "steps and FLOPs halved": _fewer_steps,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FORGERIES)
def test_forged_flops_are_caught(name: str, forger: Forger) -> None:
    forger.rewrite("candidates", FORGERIES[name])
    assert flops.check(audited(forger.folder.path)).failed


def test_without_checkpoints_flops_are_not_known(forger: Forger) -> None:
    def away(fields: dict[str, Any]) -> None:
        for role in ("generator", "judge", "scorer"):
            parts = fields["config"][role]["checkpoints"]
            parts.update({part: f"/nowhere/{part}" for part in parts})

    forger.manifest(away)
    with pytest.raises(CannotCheck, match="is not here"):
        flops.check(audited(forger.folder.path))


def test_other_weights_of_the_same_name_are_not_counted(forger: Forger) -> None:
    forger.config(lambda fields: fields["digests"].update({"judge.detector": "0" * 64}))
    result = flops.check(audited(forger.folder.path))
    assert result.outcome is Status.PASS
    assert any("not of the judge: " in line for line in result.evidence)


@pytest.mark.parametrize(
    "forward",
    [
        lambda: torch.ones(3, 4) @ torch.ones(4, 5),
        lambda: torch.nn.Linear(4, 5)(torch.ones(2, 3, 4)),
        lambda: torch.nn.Conv2d(4, 6, 3, groups=2, stride=2)(torch.ones(2, 4, 9, 9)),
        lambda: torch.nn.ConvTranspose2d(4, 6, 3, groups=2, stride=2)(torch.ones(2, 4, 5, 5)),
        lambda: torch.nn.functional.scaled_dot_product_attention(*torch.ones(3, 1, 2, 5, 8)),
    ],
)
def test_the_two_counters_agree(forward: Callable[[], Any]) -> None:
    assert operations(forward) == count(forward) > 0


def test_verdicts_follow_from_detections(measured: Path) -> None:
    assert verdicts.check(audited(measured)).outcome is Status.PASS


def _flip(table: Rows) -> None:
    for row in table:
        row.update(correct=not row["correct"], reason="" if not row["correct"] else "wrong")


def _unsee(table: Rows) -> None:
    """What a right image shows is taken out of the list."""
    for row in table:
        row["detections"] = [d for d in row["detections"] if d["score"] < 0.1]
        row["correct"], row["reason"] = True, ""


def test_answer_keys_of_the_runs_own_are_not_asked(forger: Forger) -> None:
    """Nothing was asked for, so all is right: by a file that no run of a generator has."""
    asked = AuditedRun(forger.folder).prompts
    forger.bring_prompts([replace(p, metadata={"include": []}) for p in asked])
    forger.rewrite("candidates", lambda table: [r | {"correct": True, "reason": ""} for r in table])
    assert verdicts.check(audited(forger.folder.path)).failed


@pytest.mark.parametrize("forge", [_flip, _unsee])
def test_forged_verdicts_are_caught(forge: Callable[[Rows], None], forger: Forger) -> None:
    forger.rewrite("candidates", forge)
    assert verdicts.check(audited(forger.folder.path)).failed


def test_the_rules_that_grade_anew_are_the_benchmark_s_own(
    measured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No benchmark is known by name here: each says what follows from its records."""
    run_of_another = audited(measured)
    seen: list[Prompt] = []

    def rescore(self: object, prompt: Prompt, result: Evidence, settings: Any) -> Score:
        seen.append(prompt)
        return Score.of(False, "whatever")

    monkeypatch.setattr(GenEval, "name", "another")
    monkeypatch.setattr(GenEval, "rescore", rescore)
    assert verdicts.check(run_of_another).failed and seen
    monkeypatch.setattr(GenEval, "rescore", Benchmark.rescore)
    with pytest.raises(CannotCheck, match="verdicts of another do not follow"):
        verdicts.check(run_of_another)


def test_what_a_scorer_takes_is_the_benchmark_s_word(
    measured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GenEval, "grading_passes", Benchmark.grading_passes)
    result = flops.check(audited(measured))
    assert any("not of the scorer: what a scorer 'geneval' takes" in e for e in result.evidence)
    assert result.evidence[0].startswith("of the generator, judge,")
    passes = GradingPasses(lambda: None, lambda: None, lambda prompt: False)
    monkeypatch.setattr(GenEval, "grading_passes", lambda *_: passes)
    assert flops.check(audited(measured)).failed


def test_a_colour_that_was_asked_for_and_not_logged_is_missed() -> None:
    asked = {"include": [{"class": "cat", "count": 1, "color": "red"}]}
    prompt = Prompt("0", "a red cat", "colors", {"tag": "colors", **asked})
    settings = GenEval().scorer_settings({})
    for color, correct in (("red", True), ("blue", False)):
        seen = (Detection("cat", (0.0, 0.0, 9.0, 9.0), 0.9, color),)
        assert GenEval().rescore(prompt, seen, settings).correct is correct
    with pytest.raises(HarnessError, match="colour of an object that was asked for is not logged"):
        GenEval().rescore(prompt, (Detection("cat", (0.0, 0.0, 9.0, 9.0), 0.9),), settings)
