"""Failures are told apart, counted, shown, and leave the log as it would have been."""

from __future__ import annotations

import json
import math
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

import harness
from harness.cli.summaries import print_summary
from harness.engine.engine import Engine
from harness.engine.executors.inline import InlineExecutor
from harness.engine.jobs import BatchResult, Failed, Job, by_role
from harness.engine.progress import Progress
from harness.engine.session import Session
from harness.engine.validate import check_cost, check_image, check_score, check_verdict
from harness.engine.worker import Setup
from harness.errors import BadAnswer, Failure, HarnessError, Interrupted
from harness.log.manifest import Manifest
from harness.log.run_folder import RunFolder
from harness.plan import Ask, plan
from harness.records import Answer, Cost, Detection, Role, Score, Verdict
from harness.runs.summary import summarise
from tests.engine.mixtures import strike_at_random
from tests.runs import contents, run, stub_plan
from tests.stubs import make_stub_suite
from tests.tiny import make_tiny_suite

NAN, INFINITY = math.nan, math.inf
PICTURE = np.full((8, 8, 3), 7, np.uint8)
SETTINGS = {"height": 8, "width": 8}
SEEN = Detection("cat", (0.0, 0.0, 4.0, 4.0), 0.5)


@pytest.mark.parametrize(
    ("image", "failure"),
    [
        (PICTURE.astype(np.float32) * np.nan, Failure.NAN_IMAGE),
        (PICTURE.astype(np.float32), Failure.WRONG_SHAPE),
        (PICTURE[:-1], Failure.WRONG_SHAPE),
        (PICTURE * 0, Failure.BLACK_IMAGE),
        (PICTURE, None),
    ],
)
def test_images_are_told_apart(image: np.ndarray, failure: Failure | None) -> None:
    if failure is None:
        check_image(image, SETTINGS)
        return
    with pytest.raises(BadAnswer) as caught:
        check_image(image, SETTINGS)
    assert caught.value.failure is failure


def test_a_bad_answer_travels_whole() -> None:
    message = BadAnswer(Failure.NAN_IMAGE, "NaN in 2 rows", "try another dtype")
    copy = pickle.loads(pickle.dumps(message))
    assert (copy.failure, copy.message, copy.hint) == (
        message.failure,
        message.message,
        message.hint,
    )
    assert Failed.of(copy) == Failed(Failure.NAN_IMAGE, "NaN in 2 rows")


@pytest.mark.parametrize("score", [NAN, INFINITY, -INFINITY, None, "0.5"])
def test_a_verdict_has_a_finite_score(score: float) -> None:
    check_verdict(Verdict(True, 0.5))
    check_verdict(Verdict(np.True_, np.float32(-3)))  # type: ignore[arg-type]
    with pytest.raises(BadAnswer, match="score") as caught:
        check_verdict(Verdict(True, score))
    assert caught.value.failure is Failure.BAD_NUMBER


@pytest.mark.parametrize("accepted", [NAN, 1, None])
def test_a_verdict_is_yes_or_no(accepted: bool) -> None:
    with pytest.raises(BadAnswer, match="not true or false"):
        check_verdict(Verdict(accepted, 0.5))
    with pytest.raises(BadAnswer, match="not true or false"):
        check_score(Score(1.0, accepted))


@pytest.mark.parametrize(
    "result",
    [
        replace(SEEN, score=NAN),
        replace(SEEN, score=1.01),
        replace(SEEN, score=-0.01),
        replace(SEEN, box=(0.0, 0.0, NAN, 1.0)),
        replace(SEEN, box=(0.0, 0.0, 1.0)),
    ],
)
def test_a_detection_can_be_one(result: Detection) -> None:
    check_score(Score.of(True, "", (SEEN, replace(SEEN, score=1.0))))
    with pytest.raises(BadAnswer, match="'cat'") as caught:
        check_score(Score.of(True, "", (SEEN, result)))
    assert caught.value.failure is Failure.BAD_NUMBER


ASKED = Answer("Is it red?", "yes", "yes", 0.5)


@pytest.mark.parametrize("value", [NAN, INFINITY, -0.01, None, "0.5"])
def test_a_grade_is_a_number_from_0_on(value: float) -> None:
    """Sums of probabilities may pass 1; nothing clips them."""
    for good in (0.0, 0.25, np.float32(1.0), 1.0004):
        check_score(Score(good, False))  # type: ignore[arg-type]
    with pytest.raises(BadAnswer, match="gave the grade"):
        check_score(Score(value, False))


@pytest.mark.parametrize("name", ["probability", "weight"])
@pytest.mark.parametrize("value", [NAN, INFINITY, -0.01, "0.5"])
def test_an_answer_can_be_one(name: str, value: float) -> None:
    check_score(Score(0.5, False, "", (ASKED, replace(ASKED, probability=None, weight=2.0))))
    with pytest.raises(BadAnswer, match=f"'Is it red.' a {name} of"):
        check_score(Score(0.5, False, "", (replace(ASKED, **{name: value}),)))


def test_evidence_is_of_one_kind() -> None:
    for mixed in ((SEEN, ASKED), ("no evidence",)):
        with pytest.raises(BadAnswer, match="neither detections nor answers"):
            check_score(Score(1.0, True, "", mixed))  # type: ignore[arg-type]


@pytest.mark.parametrize("cost", [Cost(flops=NAN), Cost(flops=-1.0), Cost(tokens=-1)])
def test_a_cost_can_be_summed(cost: Cost) -> None:
    check_cost(Role.JUDGE, Cost(nfe=1, flops=1e9, tokens=3))
    with pytest.raises(BadAnswer, match="the judge spent"):
        check_cost(Role.JUDGE, cost)


def test_torch_s_own_way_to_be_out_of_memory_is_known() -> None:
    out = type("OutOfMemoryError", (RuntimeError,), {})
    assert Failed.of(out("CUDA")).failure is Failure.OUT_OF_MEMORY
    assert Failed.of(MemoryError()).failure is Failure.OUT_OF_MEMORY
    assert Failed.of(RuntimeError("x")) == Failed(Failure.EXCEPTION, "RuntimeError: x")


@pytest.mark.sampled(2)
@pytest.mark.parametrize("strategy", ["best-of-n", "tests.stubs:Chain"])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_mixture_of_failures_is_counted_and_changes_nothing(
    tmp_path: Path, strategy: str, seed: int
) -> None:
    suite, faults = make_stub_suite(tmp_path)
    ready = stub_plan(suite, strategy=strategy)
    run(ready, tmp_path / "calm")
    failures, _ = strike_at_random(faults, seed, deadly=False)
    progress = run(ready, tmp_path / "rough")
    assert progress is not None and not faults.left()
    assert progress.failures == failures and progress.draws_failed == 0
    assert contents(tmp_path / "rough") == contents(tmp_path / "calm")
    (session,) = Manifest.read(RunFolder(tmp_path / "rough").manifest).sessions
    assert session["failures"] == by_role(failures.items()) and session["outcome"] == "finished"
    attempts = harness.load(tmp_path / "rough")["attempts"]
    assert session["retried"] == int((attempts - 1).sum()) > 0


def test_numbers_that_stay_wrong_become_error_rows(tmp_path: Path) -> None:
    suite, faults = make_stub_suite(tmp_path)
    faults.add("judge", "nan", "on-thing 3")
    faults.add("scorer", "nan", "on-thing 4")
    run(stub_plan(suite, budget=1), tmp_path / "run")
    frame = harness.load(tmp_path / "run").set_index("prompt_id")
    failed = frame[frame["error"].notna()]
    assert dict(failed["error_role"]) == {"00003": "judge", "00004": "scorer"}
    assert failed["error"].str.contains("nan").all()
    assert frame["judge_score"].drop("00003").notna().all()


@pytest.mark.slow
def test_a_real_model_s_nan_is_counted_as_what_it_is(tmp_path: Path) -> None:
    suite = make_tiny_suite(tmp_path)
    weights = tmp_path / "tiny" / "pipeline" / "transformer" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    tensors["proj_out.weight"].fill_(NAN)
    save_file(tensors, weights, metadata={"format": "pt"})
    ready = plan(Ask(model=str(suite), budget=1, limit=2, threads=1))
    run(ready, tmp_path / "run")
    summary = summarise(tmp_path / "run")
    # Both in one batch, then each alone, twice.
    assert summary.failures == {"generator": {"NaN image": 5}}
    errors = harness.load(tmp_path / "run")["error"]
    assert len(errors) == 2 and errors.str.startswith("the generator's output has NaN").all()


def test_the_summary_says_what_failed_over_all_sessions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite, faults = make_stub_suite(tmp_path)
    ready, folder = stub_plan(suite), tmp_path / "run"
    faults.add("generator", "nan", "once-thing 3")
    faults.add("judge", "error", "once-thing 3")
    steps = iter(range(100))
    with pytest.raises(Interrupted):
        run(ready, folder, stop=lambda: not faults.left() and next(steps) > 3)
    first = Manifest.read(RunFolder(folder).manifest).sessions[0]
    assert first["outcome"] == "stopped" and first["ended"] >= first["started"]
    faults.add("generator", "nan", 0)
    run(ready, folder)
    summary = summarise(folder)
    assert summary.failures == {"generator": {"NaN image": 2}, "judge": {"exception": 1}}
    assert summary.deaths == {}
    print_summary(RunFolder(folder))
    out = capsys.readouterr().out
    assert "tries     2 generator tries failed: 2 NaN image" in out
    assert "tries     1 judge tries failed: 1 exception" in out


def test_workers_lost_are_in_the_summary_and_old_manifests_still_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = RunFolder(tmp_path / "run")
    run(stub_plan(make_stub_suite(tmp_path)[0]), folder.path)
    fields = json.loads(folder.manifest.read_text())
    old = {**fields["sessions"][0], "deaths": 0}
    del old["failures"]
    new = {**old, "deaths": {"generator": {"killed": 2, "hang": 1}}, "failures": {}}
    folder.manifest.write_text(json.dumps({**fields, "sessions": [old, new, new]}))
    assert summarise(folder.path).deaths == {"generator": {"killed": 4, "hang": 2}}
    print_summary(folder)
    assert "workers   6 generator lost: 4 killed, 2 hang" in capsys.readouterr().out


class Unlucky(InlineExecutor):
    """Loses the node of each of the first batches."""

    losses = 5

    def wait(self, timeout: float) -> list[BatchResult]:
        job: Job | None = self._job
        if job is not None and self.losses:
            self.losses, self._job = self.losses - 1, None
            lost = Failed(Failure.NODE_LOST, "worker died: node lost")
            return [BatchResult.failed(job, "unlucky", lost, crashed=True)]
        return list(super().wait(timeout))


def test_no_draw_is_given_up_for_lost_machines(tmp_path: Path) -> None:
    ready = stub_plan(make_stub_suite(tmp_path)[0], budget=1)
    run(ready, tmp_path / "calm")
    executor = Unlucky(Setup(ready.config, ready.paths), list(ready.config.specs))
    progress = run(ready, tmp_path / "rough", executor=executor)
    assert progress is not None
    assert progress.failures == {(Role.GENERATOR, Failure.NODE_LOST): 5}
    assert contents(tmp_path / "rough") == contents(tmp_path / "calm")


def test_counts_are_written_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.engine.session.WRITE_SECONDS", 0.0)
    suite, faults = make_stub_suite(tmp_path)
    faults.add("generator", "nan", 0)
    seen = []

    def look(progress: Progress) -> bool:
        seen.append(Manifest.read(RunFolder(tmp_path / "run").manifest).sessions[0])
        return False

    ready = stub_plan(suite)
    engines: list[Engine] = []
    original = Engine.__init__

    def remember(self: Engine, *args: object, **options: object) -> None:
        original(self, *args, **options)  # type: ignore[arg-type]
        engines.append(self)

    monkeypatch.setattr(Engine, "__init__", remember)
    run(ready, tmp_path / "run", stop=lambda: look(engines[0].progress))
    assert "failures" not in seen[0] and "ended" not in seen[-1]
    assert seen[-1]["failures"] == {"generator": {"NaN image": 1}}


def test_a_session_s_own_trouble_does_not_hide_what_ended_it(tmp_path: Path) -> None:
    ready = stub_plan(make_stub_suite(tmp_path)[0])
    executor = InlineExecutor(Setup(ready.config, ready.paths), [])
    run(ready, tmp_path / "run")
    path = RunFolder(tmp_path / "run").manifest
    session = Session(Manifest.read(path), path, executor, command="test", notes={})
    path.unlink()
    path.mkdir()  # so that nothing can be written there
    ended = session.end(Progress(), HarnessError("the disk is full"))
    assert ended.sessions[-1]["outcome"] == "the disk is full"
