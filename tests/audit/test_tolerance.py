"""Draws and verdicts made again: to the last bit here, within tolerance elsewhere, with the reason.

Runs with images taken away are held to the digests in the log.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from harness.audit import regenerator
from harness.audit.audited_run import AuditedRun, Options
from harness.audit.checks import images as image_check
from harness.audit.checks import regeneration, rescoring
from harness.audit.loaded import Loaded
from harness.audit.result import CannotCheck, Result, Status, count
from harness.audit.tolerance import LARGEST_DIFFERENCE, LEAST_PSNR, image_distance
from harness.cli.audit import audit
from harness.log import images
from harness.log.run_folder import RunFolder
from harness.records import Request, Role
from harness.seeds import pixel_digest
from tests.audit.forging import Forger, Rows
from tests.stubs import StubGenerator

EVERYTHING = Options(regenerate=1000, rescore=1000, plugins=True)


@pytest.fixture
def copy(honest: Path, tmp_path: Path) -> Path:
    shutil.copytree(honest, tmp_path / "run")
    return tmp_path / "run"


def made_elsewhere(path: Path) -> None:
    def change(fields: dict[str, Any]) -> None:
        for made in (fields["environment"], *fields["sessions"]):
            made["packages"]["torch"] = "0.0"

    Forger(path).manifest(change)


def resumed_elsewhere(path: Path) -> None:
    def change(fields: dict[str, Any]) -> None:
        session = fields["sessions"][-1]
        fields["sessions"].append({**session, "packages": {**session["packages"], "torch": "0.0"}})

    Forger(path).manifest(change)


def blurred(path: Path, by: int, *, keep: bool = True) -> None:
    """Every image as another device might have made it, all pixels off by so much."""
    forger = Forger(path)

    def change(result: Rows) -> None:
        for row in result:
            old = images.image_path(forger.folder.images, row["image"])
            pixels = images.decode(old.read_bytes())
            off = np.where(pixels < 128, pixels + by, pixels - by).astype(np.uint8)
            old.unlink()
            row["image"] = pixel_digest(off)
            new = images.image_path(forger.folder.images, row["image"])
            new.parent.mkdir(exist_ok=True)
            if keep:
                new.write_bytes(images.encode(off))

    forger.rewrite("candidates", change)


def again(path: Path) -> Result:
    return regeneration.check(AuditedRun(RunFolder(path), EVERYTHING))


def judged_again(path: Path) -> Result:
    return rescoring.check(AuditedRun(RunFolder(path), EVERYTHING))


def test_bitwise(copy: Path) -> None:
    result = again(copy)
    assert result.outcome is Status.PASS
    assert result.evidence[0].endswith("bitwise, 0 within tolerance")
    assert "versions and device are the run's: bitwise is asked for" in result.evidence


def test_near_is_not_enough_where_bitwise_is_to_be_had(copy: Path) -> None:
    blurred(copy, 1)
    result = again(copy)
    assert result.outcome is Status.FAIL
    assert "comes out otherwise: PSNR 48.1 dB, largest difference 1" in result.evidence[0]


def test_near_is_enough_elsewhere_and_the_reason_is_told(copy: Path) -> None:
    blurred(copy, 1)
    made_elsewhere(copy)
    result = again(copy)
    assert result.outcome is Status.PASS
    assert result.evidence[0].startswith("0 bitwise, ") and "within" in result.evidence[0]
    assert any(line.startswith("torch was 0.0, is ") for line in result.evidence)


def test_a_run_that_was_resumed_under_another_version_is_from_elsewhere(copy: Path) -> None:
    blurred(copy, 1)
    assert again(copy).failed
    resumed_elsewhere(copy)
    result = again(copy)
    assert result.outcome is Status.PASS
    assert any(line.startswith("torch was 0.0 and ") for line in result.evidence)


def test_beyond_tolerance_elsewhere(copy: Path) -> None:
    blurred(copy, 40)
    made_elsewhere(copy)
    result = again(copy)
    assert result.outcome is Status.FAIL and "beyond tolerance" in result.evidence[0]


def test_another_device_is_a_reason(copy: Path) -> None:
    def move(fields: dict[str, list[dict[str, dict[str, dict[str, str]]]]]) -> None:
        for session in fields["sessions"]:
            for worker in session["workers"].values():
                worker["device_name"] = "Some GPU"

    Forger(copy).manifest(move)
    assert any("made on Some GPU, this is" in line for line in again(copy).evidence)


def test_how_far_images_are_apart() -> None:
    grey = np.full((4, 4, 3), 100, np.uint8)
    dot = grey.copy()
    dot[0, 0, 0] = 100 + LARGEST_DIFFERENCE + 1
    assert image_distance(grey, grey) == (float("inf"), 0)
    assert image_distance(grey, grey[:2]) is None
    result = image_distance(grey, grey + 3)
    assert result is not None and result[0] == pytest.approx(38.59, abs=0.01) and result[1] == 3
    result = image_distance(grey, dot)
    assert result is not None and result[1] > LARGEST_DIFFERENCE and result[0] < LEAST_PSNR


def scores_off(path: Path, by: float) -> None:
    def change(result: Rows) -> None:
        for row in result:
            row["judge_score"] += by

    Forger(path).rewrite("candidates", change)


@pytest.mark.parametrize(
    ("by", "elsewhere", "outcome"),
    [
        (0.0, False, Status.PASS),
        (0.005, False, Status.FAIL),
        (0.005, True, Status.PASS),
        (0.05, True, Status.FAIL),
    ],
)
def test_verdicts(copy: Path, by: float, elsewhere: bool, outcome: Status) -> None:
    scores_off(copy, by)
    if elsewhere:
        made_elsewhere(copy)
    result = judged_again(copy)
    assert result.outcome is outcome
    assert any(line.startswith("torch was") for line in result.evidence) is elsewhere


def test_yes_or_no_has_no_tolerance(copy: Path) -> None:
    def change(result: Rows) -> None:
        row = next(row for row in result if not row["correct"])
        row.update(correct=True, reason="")

    Forger(copy).rewrite("candidates", change)
    made_elsewhere(copy)
    assert judged_again(copy).outcome is Status.FAIL


@pytest.mark.parametrize(("by", "outcome"), [(0.5, Status.PASS), (2.0, Status.FAIL)])
def test_boxes_have_one(copy: Path, by: float, outcome: Status) -> None:
    def change(result: Rows) -> None:
        for row in result:
            for detection in row["detections"]:
                detection["box"] = [edge + by for edge in detection["box"]]

    Forger(copy).rewrite("candidates", change)
    made_elsewhere(copy)
    assert judged_again(copy).outcome is outcome


def test_without_images_digests_decide(copy: Path) -> None:
    shutil.rmtree(copy / "images")
    result = CliRunner().invoke(
        audit,
        [str(copy), "--plugins", "--device", "cpu", "--regenerate", "30", "--rescore", "30"],
        standalone_mode=False,
    )
    assert result.return_value == 0, result.output
    lines = {line.split()[0]: line for line in result.output.splitlines() if line[:1].isalpha()}
    assert "not applicable" in lines["images"] and "no image is here" in lines["images"]
    assert " bitwise, 0 within tolerance" in lines["regeneration"] and "pass" in lines["rescoring"]


def test_without_images_a_wrong_digest_is_caught(copy: Path) -> None:
    blurred(copy, 1, keep=False)
    assert again(copy).outcome is Status.FAIL
    with pytest.raises(CannotCheck, match="no image is here"):
        image_check.check(AuditedRun(RunFolder(copy), EVERYTHING))
    with pytest.raises(CannotCheck, match="bit for bit"):
        judged_again(copy)


def test_without_images_elsewhere_nothing_is_known(copy: Path) -> None:
    blurred(copy, 1, keep=False)
    made_elsewhere(copy)
    result = again(copy)
    assert result.outcome is Status.NOT_APPLICABLE
    assert any("have no image here" in line for line in result.evidence)


def test_a_chain_is_held_to_the_log_draw_by_draw(copy: Path) -> None:
    """Whoever alters a draw that later ones have feedback on is caught by these alone."""
    shutil.rmtree(copy / "images")
    one = Options(regenerate=1, plugins=True)
    honest = regeneration.check(AuditedRun(RunFolder(copy), one))
    assert honest.outcome is Status.PASS and "1 draw, 1 with feedback, " in honest.looked_at

    def change(result: Rows) -> None:
        for row in result:
            if not row["feedback"]:
                row["image"] = "0" * 32

    Forger(copy).rewrite("candidates", change)
    assert regeneration.check(AuditedRun(RunFolder(copy), one)).outcome is Status.FAIL


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the generator makes, by id; "load" for each time that it is loaded."""
    did: list[str] = []
    load, generate = StubGenerator.load.__func__, StubGenerator.generate  # type: ignore[attr-defined]

    def loaded(cls: type, *args: object, **named: object) -> object:
        did.append("load")
        return load(cls, *args, **named)

    def generated(self: StubGenerator, requests: Sequence[Request]) -> object:
        did.extend(request.id for request in requests)
        return generate(self, requests)

    monkeypatch.setattr(StubGenerator, "load", classmethod(loaded))
    monkeypatch.setattr(StubGenerator, "generate", generated)
    return did


def test_without_images_what_was_made_again_is_judged_and_nothing_made_twice(
    copy: Path, made: list[str]
) -> None:
    shutil.rmtree(copy / "images")
    audited = AuditedRun(RunFolder(copy), Options(regenerate=3, rescore=3, plugins=True))
    assert regeneration.check(audited).outcome is Status.PASS
    already = list(made)
    assert len(already) > 4  # chains were made, too
    result = rescoring.check(audited)
    assert result.outcome is Status.PASS and result.looked_at == "3 images"
    assert made == already
    audited.options = replace(audited.options, rescore=1000)
    everything = rescoring.check(audited)
    draws = Forger(copy).read("candidates")
    assert everything.outcome is Status.PASS and everything.looked_at == f"{len(draws)} images"
    assert sorted(made) == sorted(["load", *(row["draw_id"] for row in draws)])


def test_without_images_a_flipped_score_is_caught(copy: Path) -> None:
    def change(result: Rows) -> None:
        for row in result:
            row.update(correct=not row["correct"], reason="" if not row["correct"] else "wrong")

    shutil.rmtree(copy / "images")
    Forger(copy).rewrite("candidates", change)
    audited = AuditedRun(RunFolder(copy), Options(regenerate=2, rescore=2, plugins=True))
    assert regeneration.check(audited).outcome is Status.PASS
    assert rescoring.check(audited).outcome is Status.FAIL


def test_models_are_loaded_once_for_all_runs(honest: Path, copy: Path, made: list[str]) -> None:
    shutil.rmtree(copy / "images")
    result = CliRunner().invoke(
        audit,
        [str(honest), str(copy), "--plugins", "--device", "cpu"],
        standalone_mode=False,
    )
    assert result.return_value == 0, result.output
    assert made.count("load") == 1


def test_another_number_of_threads_is_another_model(copy: Path, made: list[str]) -> None:
    loaded = Loaded()
    setup = regenerator.setup(AuditedRun(RunFolder(copy), EVERYTHING), Role.GENERATOR)
    first = loaded.worker(Role.GENERATOR, setup)
    assert loaded.worker(Role.GENERATOR, setup) is first
    other = replace(setup, config=setup.config.model_copy(update={"threads": 1}))
    assert loaded.worker(Role.GENERATOR, other) is not first
    assert torch.get_num_threads() == 1
    loaded.worker(Role.GENERATOR, setup)
    assert torch.get_num_threads() == setup.config.threads
    assert made == ["load", "load", "load"]


def test_without_the_generator_kept_images_are_judged(copy: Path) -> None:
    """As in a bundle with selected images, opened where the generator is not."""
    saved = sorted((copy / "images").glob("*/*"))[:3]
    for path in sorted((copy / "images").glob("*/*"))[3:]:
        path.unlink()
    Forger(copy).config(
        lambda fields: fields["generator"]["checkpoints"].update(faults="/nowhere/generator")
    )
    result = judged_again(copy)
    assert result.outcome is Status.PASS and result.looked_at == count(len(saved), "image")
    assert result.evidence[0].startswith("of kept images only: checkpoint '/nowhere/generator'")
