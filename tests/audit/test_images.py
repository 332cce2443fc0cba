"""Pictures under a draw's digest that are not the draw's: never judged in its place."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from harness.audit import regenerator
from harness.audit.audit import audit
from harness.audit.audited_run import AuditedRun, Options
from harness.audit.bundle import FACTS, unpack
from harness.audit.result import CannotCheck, Result, Status
from harness.log import images
from harness.log.run_folder import RunFolder
from harness.records import Prompt, Role
from tests.audit.forging import Forger, Rows
from tests.runs import run, stub_plan
from tests.stubs import StubJudge, StubScorer

EVERYTHING = Options(regenerate=1000, rescore=1000, plugins=True)


def audited(folder: RunFolder, saved: str | None = None) -> dict[str, Result]:
    return {each.check: each for each in audit(AuditedRun(folder, EVERYTHING, saved))}


def falsified(honest: Path, folder: Path, *, keep: str) -> Forger:
    """A picture that the scorer calls right, under the digest of a draw that is wrong.

    Its verdict and score are those of the false picture, so that whoever judges the file finds
    them confirmed.
    """
    shutil.copytree(honest, folder)
    forger = Forger(folder)
    rng = np.random.default_rng(0)

    def change(rows: Rows) -> None:
        row = next(row for row in rows if not row["correct"] and not row["feedback"])
        prompt = Prompt(row["prompt_id"], row["prompt"], row["tag"])
        seed = int(row["draw_id"][:15], 16)
        while True:
            picture = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            score, _ = StubScorer(None).score([prompt], [picture])[0]
            verdict, _ = StubJudge(None).judge([prompt], [picture], [seed])[0]
            if score.correct and verdict.accepted == row["accepted"]:
                break
        row.update(correct=True, reason="", judge_score=verdict.score)
        row["judge_sentence"] = verdict.sentence
        row["detections"] = [
            {"label": d.label, "box": list(d.box), "score": d.score, "color": d.color}
            for d in score.detections
        ]
        images.image_path(forger.folder.images, row["image"]).write_bytes(images.encode(picture))

    forger.rewrite("candidates", change)
    forger.config(lambda fields: fields.update(keep_images=keep))
    return forger


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory, honest: Path) -> Path:
    """A run without feedback, all its images kept."""
    folder = tmp_path_factory.mktemp("single") / "run"
    run(stub_plan(honest.parent / "stub.toml", strategy="single", budget=1), folder)
    return folder


@pytest.mark.parametrize("keep", ["all", "selected", "none"])
def test_a_false_picture_is_told_and_never_judged(single: Path, tmp_path: Path, keep: str) -> None:
    forger = falsified(single, tmp_path / "run", keep=keep)
    results = audited(forger.folder)
    assert results["images"].outcome is Status.FAIL
    # The draw made again is judged in its place, and shows what was to be hidden.
    assert results["rescoring"].outcome is Status.FAIL


@pytest.mark.parametrize("claimed", ["none", "selected"])
def test_a_bundle_is_held_to_its_images_whatever_it_says_of_them(
    single: Path, tmp_path: Path, claimed: str
) -> None:
    keep = "none" if claimed == "none" else "all"
    forger = falsified(single, tmp_path / "run", keep=keep)
    with zipfile.ZipFile(tmp_path / "run.zip", "w") as packed:
        for path in sorted(Path(str(forger.folder.path)).rglob("*")):
            if path.is_file() and path.name != ".lock":
                packed.write(path, path.relative_to(forger.folder.path))
        packed.writestr(FACTS, json.dumps({"images": claimed}))
    folder, saved = unpack(tmp_path / "run.zip", tmp_path / "room")
    results = audited(folder, saved)
    assert results["images"].outcome is Status.FAIL
    assert results["rescoring"].outcome is Status.FAIL


def test_where_no_generator_is_only_verified_pictures_are_judged(
    single: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(audited: AuditedRun, role: Role) -> object:
        if role is Role.GENERATOR:
            raise CannotCheck("the generator is not here")
        return setup(audited, role)

    setup = regenerator.setup
    monkeypatch.setattr(regenerator, "setup", absent)
    forger = falsified(single, tmp_path / "run", keep="all")
    results = audited(forger.folder)
    assert results["images"].outcome is Status.FAIL
    number = len(forger.read("candidates"))
    assert results["rescoring"].looked_at == f"{number - 1} images"


@pytest.mark.parametrize("keep", ["selected", "none"])
def test_honest_runs_that_keep_fewer_pass(honest: Path, tmp_path: Path, keep: str) -> None:
    ready = stub_plan(honest.parent / "stub.toml", strategy="reflect", budget=4, keep_images=keep)
    run(ready, tmp_path / "run")
    results = audited(RunFolder(tmp_path / "run"))
    assert not [name for name, result in results.items() if result.failed]


def test_a_name_that_is_no_digest_leads_nowhere(honest: Path, tmp_path: Path) -> None:
    shutil.copytree(honest, tmp_path / "run")
    audited = AuditedRun(RunFolder(tmp_path / "run"))
    outside = next((tmp_path / "run" / "images").glob("*/*"))
    outside.rename(tmp_path / "outside.png")
    assert audited.image("../../outside") is None and audited.image(None) is None
