"""Run, score and import come to the same of the same images, since one engine makes all three."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import harness
from harness.engine.executors.inline import InlineExecutor
from harness.engine.jobs import BatchResult, Job
from harness.engine.launch import Execution, make_executor
from harness.errors import Failure, Interrupted
from harness.interop.export import export
from harness.interop.plan import ScoringAsk, ScoringPlan, plan_scoring
from harness.interop.session import score
from harness.log import store
from harness.log.manifest import Manifest
from harness.log.run_folder import RunFolder
from harness.log.schema import SCORE, VERDICT
from harness.plan import Ask, plan
from harness.records import Role
from tests.foreign import imported, script_output
from tests.runs import contents, run

INLINE = Execution(executor="inline")
KEY = ["prompt_id", "replicate"]


def ready(images: Path, suite: Path) -> ScoringPlan:
    return plan_scoring(ScoringAsk(images, model=str(suite), threads=1))


def answers(folder: Path, columns: Sequence[str]) -> dict[tuple[str, int], dict[str, Any]]:
    rows = store.read(RunFolder(folder).log, "candidates", [*KEY, *columns]).to_pylist()
    return {(row["prompt_id"], row["replicate"]): row for row in rows}


def test_a_run_the_score_of_its_export_and_its_import_agree_bit_for_bit(
    tiny_suite: Path, tmp_path: Path
) -> None:
    ask = Ask(model=str(tiny_suite), strategy="single", budget=1, replicates=2, limit=6, threads=1)
    run(plan(ask), tmp_path / "run")
    assert export(tmp_path / "run", tmp_path / "images").images == 12
    score(ready(tmp_path / "images", tiny_suite), INLINE, RunFolder(tmp_path / "score"), command="")
    made = answers(tmp_path / "run", ["image", *SCORE, *VERDICT])
    assert any(row["detections"] for row in made.values()), "else they would agree on nothing"
    scored = answers(tmp_path / "score", ["image", *SCORE])
    assert scored == {key: {name: row[name] for name in scored[key]} for key, row in made.items()}
    # The script keeps one search a folder; searches of one prompt are its replicates.
    for number, (key, row) in enumerate(sorted(made.items())):
        source = tmp_path / "images" / key[0]
        folder = tmp_path / "script" / f"{number:05d}"
        (folder / "samples").mkdir(parents=True)
        (folder / "metadata.jsonl").write_bytes((source / "metadata.jsonl").read_bytes())
        image = folder / "samples" / "00000.png"
        image.write_bytes((source / "samples" / f"{key[1]:04d}.png").read_bytes())
        feedback = {
            "correct": row["correct"],
            "reason": row["reason"],
            "correct_verifier": row["accepted"],
            "text_feedback_verifier": row["judge_sentence"],
        }
        image.with_name("00000.png.feedback.json").write_text(json.dumps(feedback))
    assert imported(tmp_path / "script", tmp_path / "import").problems == ()
    common = ["image", "accepted", "judge_sentence", "correct", "reason"]
    came = [{**row, "prompt_id": ""} for row in answers(tmp_path / "import", common).values()]
    assert came == [
        {**{name: row[name] for name in (*KEY, *common)}, "prompt_id": ""}
        for _, row in sorted(made.items())
    ]
    selected = harness.load(tmp_path / "import")
    assert selected["selected"].all() and selected["draw_id"].is_unique


class Loses(InlineExecutor):
    """Loses the machine under its first tries, as a cluster may."""

    def __init__(self, plan: ScoringPlan, times: int) -> None:
        made = make_executor(plan.plan, INLINE)
        assert isinstance(made, InlineExecutor)
        super().__init__(made._setup, [Role.SCORER])
        self.times = times
        self.jobs: list[Job] = []

    def submit(self, job: Job) -> None:
        self.jobs.append(job)
        super().submit(job)

    def wait(self, timeout: float) -> Sequence[BatchResult]:
        if self._job is None or not self.times:
            return super().wait(timeout)
        self.times -= 1
        job, self._job = self._job, None
        failure = Failure.NODE_LOST
        return [BatchResult(job, "a", error="machine lost", failure=failure, crashed=True)]


def test_a_machine_that_is_lost_costs_no_image_a_try_and_is_counted(
    images: Path, tiny_suite: Path, tmp_path: Path
) -> None:
    plan, whole, folder = ready(images, tiny_suite), tmp_path / "whole", tmp_path / "out"
    score(plan, INLINE, RunFolder(whole), command="test")
    executor = Loses(plan, times=7)
    score(plan, INLINE, RunFolder(folder), command="test", executor=executor)
    assert contents(folder) == contents(whole)
    [session] = Manifest.read(RunFolder(folder).manifest).sessions
    assert session["failures"] == {"scorer": {str(Failure.NODE_LOST): 7}}
    assert session["outcome"] == "finished" and session["packages"]["numpy"]
    assert session["retried"] > 7, "whole batches, which stay together"


def test_asked_to_stop_it_stops_and_goes_on_from_there(
    images: Path, tiny_suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.engine.engine.BATCHES_A_JOB", 1)
    plan, folder = ready(images, tiny_suite), RunFolder(tmp_path / "out")
    executor = Loses(plan, times=0)
    with pytest.raises(Interrupted):
        score(
            plan, INLINE, folder, command="", stop=lambda: len(executor.jobs) > 1, executor=executor
        )
    done = store.read(folder.log, "searches").num_rows
    assert 0 < done < len(plan.files)
    again = Loses(plan, times=0)
    progress = score(plan, INLINE, folder, command="", executor=again)
    assert progress is not None and progress.draws == len(plan.files) - done
    first, second = Manifest.read(folder.manifest).sessions
    assert (first["outcome"], second["outcome"]) == ("stopped", "finished")
    score(plan, INLINE, RunFolder(tmp_path / "whole"), command="")
    assert contents(folder.path) == contents(tmp_path / "whole")


def test_images_of_others_are_not_copied_and_imported_ones_are(
    images: Path, tiny_suite: Path, tmp_path: Path
) -> None:
    score(ready(images, tiny_suite), INLINE, RunFolder(tmp_path / "out"), command="")
    assert not list((tmp_path / "out").rglob("*.png"))
    imported(script_output(tmp_path / "source", prompts=2), tmp_path / "run")
    rows = store.read(RunFolder(tmp_path / "run").log, "candidates", ["image"]).to_pylist()
    saved = {path.stem for path in (tmp_path / "run").rglob("*.png")}
    assert saved == {row["image"] for row in rows}


def test_an_import_that_was_stopped_says_that_it_cannot_be_gone_on_with(
    harness: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import signal

    script_output(tmp_path / "source", prompts=4)
    command = ["import", "source", "--format", "reflect-dit", "--out", "out"]
    from harness.interop.importing import ScriptOutput

    answer = ScriptOutput.answer

    def stopped(self: ScriptOutput, *draw: Any) -> Any:
        signal.raise_signal(signal.SIGTERM) if not os.path.exists("asked") else None
        Path("asked").touch()
        return answer(self, *draw)

    with monkeypatch.context() as patch:
        patch.setattr(ScriptOutput, "answer", stopped)
        assert harness(*command) == 130
    again = "python -m harness import source --format reflect-dit --out out"
    assert f"imports are done in one go: remove out, then: {again}" in harness.err
    assert harness("show", "out") == 0
    assert harness("resume", "out") == 2 and "an import that was stopped" in harness.err
    assert harness(*command) == 2 and "out is not empty" in harness.err
    assert harness(*command[:-1], "other") == 0
    assert harness("resume", "other") == 0 and "already finished" in harness.err
