from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image as Pillow

from benchmarks.geneval.benchmark import GenEval
from benchmarks.geneval.loading import load_scorer
from harness.audit.audit import audit
from harness.audit.audited_run import AuditedRun
from harness.config import RunConfig
from harness.engine import engine, launch
from harness.engine.executors.inline import InlineExecutor
from harness.engine.jobs import BatchResult, Job
from harness.engine.launch import Execution, make_executor
from harness.errors import HarnessError, UsageError
from harness.interop.plan import NothingToScore, ScoringAsk, ScoringPlan, plan_scoring
from harness.interop.results import write_results
from harness.interop.scores import summarise_scores
from harness.interop.session import score
from harness.log import store
from harness.log.files import explain
from harness.log.manifest import Manifest, PromptSet
from harness.log.run_folder import RunFolder
from harness.log.schema import content
from harness.records import Loading, Prompt, Role
from harness.runs.loading import load_run
from harness.seeds import config_digest
from harness.statistics.intervals import Estimate
from tests.runs import bare_config, contents

INLINE = Execution(executor="inline")


def ready(images: Path, suite: Path, **ask: Any) -> ScoringPlan:
    return plan_scoring(ScoringAsk(images, model=str(suite), threads=1, **ask))


def scored(images: Path, suite: Path, out: Path, **ask: Any) -> list[dict[str, Any]]:
    score(ready(images, suite, **ask), INLINE, RunFolder(out), command="test")
    [path] = write_results(RunFolder(out), images)
    return [json.loads(line) for line in path.read_text().splitlines()]


def one_by_one(images: Path, suite: Path) -> dict[str, Any]:
    """Every image alone, straight through the scorer, read by Pillow alone."""
    parts = {name: suite.parent / "tiny" / name for name in ("detector", "colors")}
    scorer = load_scorer(Loading(parts, batch_size=4))
    result = {}
    for path in sorted(images.glob("*/samples/*")):
        metadata = json.loads((path.parents[1] / "metadata.jsonl").read_text())
        prompt = Prompt("x", metadata["prompt"], metadata["tag"], metadata)
        pixels = np.asarray(Pillow.open(path).convert("RGB"))
        [(verdict, _)] = scorer.score([prompt], [pixels])
        result[str(path)] = verdict
    return result


def test_same_verdicts_as_one_image_at_a_time(
    images: Path, tiny_suite: Path, tmp_path: Path
) -> None:
    lines = scored(images, tiny_suite, tmp_path / "out")
    expected = one_by_one(images, tiny_suite)
    assert {line["filename"] for line in lines} == expected.keys()
    for line in lines:
        verdict = expected[line["filename"]]
        assert (line["correct"], line["reason"]) == (verdict.correct, verdict.reason)
        assert list(line) == [
            "filename", "tag", "prompt", "correct", "reason", "metadata", "details"
        ]  # fmt: skip
        metadata = json.loads(line["metadata"])
        assert (line["tag"], line["prompt"]) == (metadata["tag"], metadata["prompt"])
        floor = 0.9 if line["tag"] == "counting" else 0.3
        details = json.loads(line["details"])
        saved = sorted((k, *row) for k, rows in details.items() for row in rows)
        sure = sorted((d.label, *d.box, d.score) for d in verdict.detections if d.score > floor)
        assert saved == sure
    assert sum(line["details"] != "{}" for line in lines) > 3


def log_of(folder: Path, rows: list[tuple[str, str, bool]]) -> RunFolder:
    log = store.LogWriter(folder / "log")
    for number, (prompt, tag, correct) in enumerate(rows):
        row = {"prompt_id": prompt, "tag": tag, "correct": correct, "replicate": number}
        log.append("candidates", {"run": "r", "draw_index": 0, "settings": "{}", **row})
    log.flush()
    run = RunFolder(folder)
    config = bare_config()
    Manifest("r", config, config_digest(config), PromptSet(0, "d"), "cmd", {}).write(run.manifest)
    return run


def value(estimate: Estimate | None) -> float:
    assert estimate is not None
    return estimate.value


@pytest.mark.parametrize("seed", range(4))
def test_summary_is_the_official_one(tmp_path: Path, seed: int) -> None:
    """As `summary_scores.py` computes it, with uneven numbers of images too."""
    rng = np.random.default_rng(seed)
    rows = [
        (f"{prompt:05d}", f"tag {prompt % 3}", bool(rng.random() < 0.2 + 0.2 * (prompt % 3)))
        for prompt in range(30)
        for _ in range(4 if seed == 0 else rng.integers(1, 6))
    ]
    result = summarise_scores(log_of(tmp_path, rows))
    frame = pd.DataFrame(rows, columns=["prompt", "tag", "correct"])
    by_tag = frame.groupby("tag")["correct"].mean()
    assert {tag: value(of.estimate) for tag, of in result.tags.items()} == pytest.approx(
        dict(by_tag)
    )
    assert value(result.macro) == pytest.approx(by_tag.mean())
    assert value(result.per_image.estimate) == pytest.approx(frame["correct"].mean())
    by_prompt = frame.groupby("prompt")["correct"]
    assert value(result.per_prompt) == pytest.approx(by_prompt.any().mean())
    assert value(result.micro) == pytest.approx(by_prompt.mean().mean())
    assert (result.per_image.images, result.per_image.prompts) == (len(frame), 30)
    for estimate in (result.macro, result.micro, result.per_image.estimate, result.per_prompt):
        assert estimate and 0 < estimate.low < estimate.value < estimate.high < 1


def test_the_interval_of_a_ratio_is_the_bootstrap_s(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    counts = rng.integers(1, 9, 200)
    chances = rng.random(200)
    rows = [
        (f"{p:05d}", "t", bool(rng.random() < chances[p]))
        for p in range(200)
        for _ in range(counts[p])
    ]
    result = summarise_scores(log_of(tmp_path, rows)).per_image.estimate
    assert result is not None
    right = pd.DataFrame(rows).groupby(0)[2].sum().to_numpy()
    picks = rng.integers(0, 200, (4000, 200))
    low, high = np.quantile(right[picks].sum(1) / counts[picks].sum(1), [0.025, 0.975])
    assert (result.low, result.high) == pytest.approx((low, high), abs=0.01)


class Stops(InlineExecutor):
    """Runs so many jobs, then is interrupted."""

    def __init__(self, plan: ScoringPlan, jobs: int, error: BaseException) -> None:
        made = make_executor(plan.plan, INLINE)
        assert isinstance(made, InlineExecutor)
        super().__init__(made._setup, [Role.SCORER])
        self.jobs, self.error = jobs, error
        self.seen: list[int] = []

    def wait(self, timeout: float) -> Sequence[BatchResult]:
        if self.jobs == 0:
            raise self.error
        self.jobs -= 1
        return super().wait(timeout)

    def submit(self, job: Job) -> None:
        self.seen.append(len(job.items))
        super().submit(job)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("writes", range(4))
def test_killed_in_any_of_its_first_writes_it_can_be_given_again(
    images: Path, tiny_suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    import os

    class Killed(BaseException):
        pass

    plan, folder = ready(images, tiny_suite), RunFolder(tmp_path / "out")
    replace, left = os.replace, [writes]

    def die(source: Any, target: Any) -> None:
        if not left[0]:
            raise Killed
        left[0] -= 1
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", die)
        with pytest.raises(Killed):
            score(plan, INLINE, folder, command="test")
    assert list((tmp_path / "out").rglob(".tmp-*"))
    score(plan, INLINE, folder, command="test")
    write_results(folder, images)
    assert Manifest.read(folder.manifest).state == "finished"
    assert not list((tmp_path / "out").rglob(".tmp-*"))


@pytest.mark.sampled(1)
@pytest.mark.parametrize("jobs", [0, 1, 2, 3])
def test_resumed_is_the_same_as_in_one_go(
    images: Path, tiny_suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: int
) -> None:
    monkeypatch.setattr(engine, "BATCHES_A_JOB", 1)
    plan = ready(images, tiny_suite)
    whole, folder = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "out")
    score(plan, INLINE, whole, command="test")
    stops = Stops(plan, jobs, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        score(plan, INLINE, folder, command="test", executor=stops)
    assert store.read(folder.log, "candidates").num_rows == sum(stops.seen[:jobs])
    score(plan, INLINE, folder, command="test")
    assert contents(folder.path) == contents(whole.path)
    assert Manifest.read(folder.manifest).state == "finished"
    results = [write_results(f, images)[0].read_bytes() for f in (whole, folder)]
    assert results[0] == results[1]


def test_what_another_driver_did_until_the_lock_was_free_is_seen(
    images: Path, tiny_suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, folder = ready(images, tiny_suite), RunFolder(tmp_path / "out")
    exclusive, seen = launch.exclusive, []

    @contextmanager
    def late(path: Path) -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setattr(launch, "exclusive", exclusive)
            score(plan, INLINE, folder, command="the other's")
        seen.append(folder.manifest.read_bytes())
        with exclusive(path):
            yield

    monkeypatch.setattr(launch, "exclusive", late)
    score(plan, INLINE, folder, command="test")
    assert [folder.manifest.read_bytes()] == seen


@pytest.mark.slow
def test_a_crash_between_the_two_tables(
    images: Path, tiny_suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = ready(images, tiny_suite)
    whole, folder = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "out")
    score(plan, INLINE, whole, command="test")
    write = store.shards.write

    def full(where: Path, table: str, *rest: Any) -> Any:
        if table == "searches":
            raise explain(OSError(28, "No space left on device"), where)
        return write(where, table, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(store.shards, "write", full)
        with pytest.raises(HarnessError, match="No space"):
            score(plan, INLINE, folder, command="test")
    assert store.read(folder.log, "candidates").num_rows > 0
    assert store.read(folder.log, "searches").num_rows == 0
    score(plan, INLINE, folder, command="test")
    assert contents(folder.path) == contents(whole.path)


def test_batches_hold_one_size_and_are_full(
    images: Path, tiny_suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "BATCHES_A_JOB", 1)
    plan = ready(images, tiny_suite, batch_size=2)
    executor = Stops(plan, -1, KeyboardInterrupt())
    score(plan, INLINE, RunFolder(tmp_path / "out"), command="test", executor=executor)
    sizes = [Pillow.open(file.path).size for file in plan.files]
    assert sorted(executor.seen) == sorted(
        [2] * sum(sizes.count(s) // 2 for s in set(sizes))
        + [1] * sum(sizes.count(s) % 2 for s in set(sizes))
    )


def test_bad_images_are_named_and_the_others_scored(
    images: Path, tiny_suite: Path, tmp_path: Path
) -> None:
    good = scored(images, tiny_suite, tmp_path / "good")
    samples = sorted(images.glob("*/samples/*"))
    samples[2].write_bytes(samples[2].read_bytes()[:60])
    samples[5].write_bytes(b"")
    with_bad = scored(images, tiny_suite, tmp_path / "bad")
    bad = {str(samples[2]), str(samples[5])}
    for before, after in zip(good, with_bad, strict=True):
        if after["filename"] in bad:
            assert after["correct"] is None and after["reason"].startswith("not scored: ")
        else:
            assert before == after
    refused = summarise_scores(RunFolder(tmp_path / "bad")).refused
    assert len(refused) == 2 and all(any(name in line for line in refused) for name in bad)


@pytest.mark.slow
def test_odd_files_are_scored_as_the_plain_ones_they_mean_or_refused_by_name(
    images: Path, tiny_suite: Path, tmp_path: Path
) -> None:
    """Rotated, with alpha, palette, 16 bits, one pixel, transparent, damaged: the rest go on."""
    odd = tmp_path / "odd"
    shutil.copytree(images, odd)
    names = [path.relative_to(images) for path in sorted(images.glob("*/samples/*.png"))]
    rng = np.random.default_rng(3)
    colours = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8) // 128 * 255
    grey = rng.integers(0, 256, (32, 32), dtype=np.uint8)
    plain = [Pillow.fromarray(colours)] * 3 + [Pillow.fromarray(grey).convert("RGB")]
    plain.append(Pillow.new("RGB", (1, 1), (9, 200, 30)))
    for name, picture in zip(names, plain, strict=False):
        picture.save(images / name)
    turned = Pillow.Exif()
    turned[0x0112] = 6
    Pillow.fromarray(np.rot90(colours).copy()).save(odd / names[0], exif=turned)
    Pillow.fromarray(colours).convert("RGBA").save(odd / names[1])
    Pillow.fromarray(colours).convert("P", palette=Pillow.Palette.ADAPTIVE).save(odd / names[2])
    Pillow.fromarray((grey.astype(np.uint16) << 8) + 77).save(odd / names[3])
    Pillow.new("RGB", (1, 1), (9, 200, 30)).save(odd / names[4])
    Pillow.new("RGBA", (32, 32), (9, 9, 9, 100)).save(odd / names[5])
    (odd / names[6]).write_bytes((odd / names[6]).read_bytes()[:90])

    expected = scored(images, tiny_suite, tmp_path / "plain-out")
    result = scored(odd, tiny_suite, tmp_path / "odd-out")
    refused = {str(odd / name) for name in names[5:7]}
    for plainly, oddly in zip(expected, result, strict=True):
        name = Path(oddly["filename"]).relative_to(odd)
        assert str(images / name) == plainly["filename"]
        if oddly["filename"] in refused:
            assert oddly["reason"].startswith(f"not scored: {oddly['filename']}: ")
        else:
            assert {**oddly, "filename": ""} == {**plainly, "filename": ""}
    reasons = summarise_scores(RunFolder(tmp_path / "odd-out")).refused
    assert len(reasons) == 2
    assert any("transparent" in line for line in reasons)
    assert sum(line["details"] != "{}" for line in result) > 3


def test_an_image_that_makes_the_scorer_fail_takes_nobody_with_it(
    images: Path, tiny_suite: Path, tmp_path: Path
) -> None:
    # So thin that nothing is left of it in the detector's frame.
    Pillow.new("RGB", (4000, 1)).save(images / "00000" / "samples" / "0009.png")
    lines = scored(images, tiny_suite, tmp_path / "out")
    failed = [line for line in lines if line["reason"].startswith("not scored")]
    assert [Path(line["filename"]).name for line in failed] == ["0009.png"]


def test_changed_images_or_options_need_another_folder(
    images: Path, tiny_suite: Path, tmp_path: Path
) -> None:
    scored(images, tiny_suite, tmp_path / "out")
    with pytest.raises(UsageError, match=r"scorer\.settings\.max_overlap"):
        scored(images, tiny_suite, tmp_path / "out", settings={"max_overlap": "0.5"})
    Pillow.new("RGB", (16, 16)).save(next(images.glob("*/samples/*.png")))
    with pytest.raises(UsageError, match="another config") as caught:
        scored(images, tiny_suite, tmp_path / "out")
    assert "settings.files are the images" in caught.value.hint
    assert "leave --out away" not in caught.value.hint, "it has to be given"


def test_a_prompt_more_needs_another_folder(images: Path, tiny_suite: Path, tmp_path: Path) -> None:
    """One without images is part of the scores, although no file of the config's list is new."""
    scored(images, tiny_suite, tmp_path / "out")
    (images / "00002").mkdir()
    (images / "00002" / "metadata.jsonl").write_text(json.dumps(GenEval().prompts()[2].metadata))
    with pytest.raises(UsageError, match="started with other prompts") as caught:
        scored(images, tiny_suite, tmp_path / "out")
    assert caught.value.hint == "choose another --out"


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        ({"scorer": {"detektor": "x"}}, "no part 'detektor'"),
        ({"settings": {"resiz": "uint8"}}, "no option 'resiz'"),
        ({"settings": {"dtype": "float32"}}, "--dtype"),
        ({"scorer": {"detector": "/nowhere"}}, "/nowhere"),
    ],
)
def test_bad_requests(images: Path, tiny_suite: Path, ask: dict[str, Any], says: str) -> None:
    with pytest.raises(HarnessError, match=says):
        ready(images, tiny_suite, **ask)


def test_who_has_mmdet_s_file_is_told_how_to_convert_it(images: Path, tiny_suite: Path) -> None:
    file = images.parent / "mask2former.pth"
    file.write_bytes(b"weights")
    for ref in (str(file), "mask2former-swin-s-coco", f"mmdet:{file}"):
        with pytest.raises(HarnessError) as caught:
            ready(images, tiny_suite, scorer={"detector": ref})
        assert "`python -m harness convert-detector FILE.pth --out FOLDER`" in caught.value.hint
    with pytest.raises(HarnessError) as caught:
        ready(images, tiny_suite, scorer={"colors": "none"})
    assert "convert-detector" not in caught.value.hint


def test_the_detector_s_backend_is_a_setting(images: Path, tiny_suite: Path) -> None:
    def spec(**ask: Any) -> Any:
        return ready(images, tiny_suite, **ask).plan.config.scorer

    other = str(tiny_suite.parent / "tiny" / "judge")
    assert spec().settings["backend"] == "transformers"
    original = spec(scorer={"detector": "mmdet"})
    assert original == spec(settings={"backend": "mmdet"})
    assert original.settings["backend"] == "mmdet"
    assert original.checkpoints == spec().checkpoints
    named = spec(scorer={"detector": f"mmdet:{other}"})
    assert named.checkpoints["detector"] == other and named.settings == original.settings


def test_prompts_of_another_benchmark(images: Path, tiny_suite: Path) -> None:
    (images / "00000" / "metadata.jsonl").write_text('{"prompt": "a cat"}')
    plan = ready(images, tiny_suite)
    [refusal] = plan.refusals
    assert "00000/metadata.jsonl, line 1: 'include' is missing" in refusal
    assert [file.prompt.id for file in plan.files if file.refusal] == ["00000"]
    for folder in images.iterdir():
        (folder / "metadata.jsonl").write_text('{"prompt": "a cat"}')
    with pytest.raises(NothingToScore, match="no prompt's metadata is good") as caught:
        ready(images, tiny_suite)
    assert len(caught.value.refusals) == len(list(images.iterdir()))


def test_scores_say_whether_the_scorer_is_a_miniature(images: Path, tiny_suite: Path) -> None:
    parts = {name: str(tiny_suite.parent / "tiny" / name) for name in ("detector", "colors")}
    assert ready(images, tiny_suite).plan.config.miniature
    assert ready(images, tiny_suite, scorer={"detector": parts["detector"]}).plan.config.miniature
    assert not ready(images, tiny_suite, scorer=parts).plan.config.miniature


@pytest.mark.slow
def test_the_rest_of_a_scorer_of_one_s_own_is_the_official_one(
    images: Path, tiny_suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def config(**scorer: str) -> RunConfig:
        return plan_scoring(ScoringAsk(images, scorer=scorer)).plan.config

    def refs(**scorer: str) -> Mapping[str, str]:
        spec = config(**scorer).scorer
        assert spec is not None
        return spec.checkpoints

    tiny = tiny_suite.parent / "tiny"
    here = tmp_path / "checkpoints"
    here.mkdir()
    (here / "clip-vit-large-patch14").symlink_to(tiny / "colors")
    (here / "mask2former-swin-s-coco").symlink_to(tiny / "detector")
    monkeypatch.setenv("HARNESS_CHECKPOINTS", str(here))
    official = {"detector": "mask2former-swin-s-coco", "colors": "openai/clip-vit-large-patch14"}
    own = str(tiny / "detector")
    for ref in (own, f"mmdet:{own}"):
        assert refs(detector=ref) == {**official, "detector": own}
        assert not config(detector=ref).miniature
    assert refs(colors=str(tiny / "colors")) == {**official, "colors": str(tiny / "colors")}
    miniature = {"detector": "bundled:detector", "colors": "bundled:colors"}
    assert refs() == miniature and config().miniature
    assert refs(detector="bundled:judge") == {**miniature, "detector": "bundled:judge"}


def test_on_ray_with_two_workers(
    images: Path, tiny_suite: Path, tmp_path: Path, ray_cluster: None
) -> None:
    plan = ready(images, tiny_suite)
    score(plan, INLINE, RunFolder(tmp_path / "one"), command="test")
    two = Execution(executor="ray", workers=2)
    score(plan, two, RunFolder(tmp_path / "two"), command="test")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert content(store.read(RunFolder(tmp_path / "two").log, "candidates")).num_rows > 0


def test_folders_of_equal_metadata_are_one_prompt(
    images: Path, tiny_suite: Path, tmp_path: Path
) -> None:
    """One folder an image: the official summary groups by metadata, and so do the intervals."""
    single = tmp_path / "single"
    number = 0
    for folder in sorted(images.iterdir()):
        metadata = json.loads((folder / "metadata.jsonl").read_text())
        for path in sorted((folder / "samples").iterdir()):
            copy = single / f"{number:05d}" / "samples"
            copy.mkdir(parents=True)
            shutil.copy(path, copy / f"0000{path.suffix}")
            (copy.parent / "metadata.jsonl").write_text(
                json.dumps({**metadata, "note": None} if number % 2 else metadata)
            )
            number += 1
    grouped = scored(images, tiny_suite, tmp_path / "grouped")
    lines = scored(single, tiny_suite, tmp_path / "out")
    for one, other in zip(grouped, lines, strict=True):
        assert {**one, "filename": ""} == {**other, "filename": ""}
    assert [Path(line["filename"]).parts[-3] for line in lines] == [
        f"{place:05d}" for place in range(number)
    ]
    folders = [RunFolder(tmp_path / name) for name in ("grouped", "out")]
    one, other = (summarise_scores(folder) for folder in folders)
    assert one == other
    frame = pd.DataFrame(lines)
    assert one.per_image.prompts == frame["metadata"].nunique() == len(list(images.iterdir()))
    by_prompt = frame.groupby("metadata")["correct"]
    assert value(other.per_prompt) == pytest.approx(by_prompt.any().mean())
    # Reports and audits read the same log, so that prompts are the same for them.
    runs = [load_run(folder.path) for folder in folders]
    assert [len(run.prompts) for run in runs] == [9, 9]
    assert runs[0].scores().tolist() == runs[1].scores().tolist()
    audited = {r.check: r for r in audit(AuditedRun(folders[1]))}
    assert not [result for result in audited.values() if result.failed]


def test_a_prompt_that_is_refused_stays_one_of_n(
    images: Path, tiny_suite: Path, tmp_path: Path
) -> None:
    good = {line["filename"]: line for line in scored(images, tiny_suite, tmp_path / "good")}
    bad = images / "00085" / "metadata.jsonl"
    bad.write_text(bad.read_text().replace('"count": 1', '"count": "1"'))
    lines = scored(images, tiny_suite, tmp_path / "out")
    assert len(lines) == len(good)
    for line in lines:
        if "/00085/" in line["filename"]:
            assert line["correct"] is None and line["tag"] == good[line["filename"]]["tag"]
            assert f"{bad}, line 1: 'include[0].count' is " in line["reason"]
        else:
            assert line == good[line["filename"]]
    actual = summarise_scores(RunFolder(tmp_path / "out"))
    assert actual.per_image.images - actual.per_image.scored == len(actual.refused) > 0
    audited = {r.check: r for r in audit(AuditedRun(RunFolder(tmp_path / "out")))}
    assert not [result for result in audited.values() if result.failed]
