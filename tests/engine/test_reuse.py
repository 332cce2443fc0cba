"""Draws of other runs: taken where they are the same, and only there; the log never tells."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import harness
from harness.config import RECORDED_IMAGES
from harness.engine.progress import Progress
from harness.errors import HarnessError, Interrupted, UsageError
from harness.log.environment import packages
from harness.log.images import decode, encode
from harness.log.manifest import Manifest
from harness.log.schema import reused_from
from harness.plan import Plan
from harness.seeds import config_digest
from harness.simulate.workload import logged_workload
from tests.audit.forging import Forger
from tests.runs import contents, run, stub_plan
from tests.stubs import CHAIN, Faults

SEARCHES, BUDGET = 10, 4


@pytest.fixture
def pool(suite: Path, tmp_path: Path) -> Path:
    """A finished run of plain draws, with its images."""
    run(stub_plan(suite, budget=BUDGET), tmp_path / "pool")
    return tmp_path / "pool"


def reusing(
    ready: Plan, folder: Path, *pools: Path, stop: Callable[[], bool] = lambda: False
) -> Progress:
    progress = run(ready, folder, reuse=pools, stop=stop)
    assert progress is not None
    return progress


def images(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "images").glob("*/*")}


def edit_manifest(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    fields = json.loads((folder / "manifest.json").read_text())
    edit(fields)
    (folder / "manifest.json").write_text(json.dumps(fields))


@pytest.mark.sampled(3)
@pytest.mark.parametrize("keep", ["all", "selected", "none"])
@pytest.mark.parametrize("strategy", ["single", "best-of-n", CHAIN])
def test_the_log_is_the_one_the_run_would_have_had_alone(
    suite: Path, pool: Path, tmp_path: Path, strategy: str, keep: str
) -> None:
    ready = stub_plan(
        suite,
        strategy=strategy,
        strategy_options={"select": "first-accepted"} if strategy == "best-of-n" else None,
        budget=BUDGET + 1,
        keep_images=keep,
    )
    alone = run(ready, tmp_path / "alone")
    together = reusing(ready, tmp_path / "together", pool)
    assert contents(tmp_path / "together") == contents(tmp_path / "alone")
    assert images(tmp_path / "together") == images(tmp_path / "alone")
    assert alone is not None and together.draws + together.reused.total() == alone.draws
    # What has feedback was not among the plain draws; their fifth was beyond the pool's budget.
    frame = harness.load(tmp_path / "together")
    shared = (frame["draw_index"] < BUDGET) & (frame["feedback"].str.len() == 0)
    assert together.reused.total() == shared.sum() >= SEARCHES
    assert together.micro == alone.micro is not None


def test_a_reused_row_has_the_cost_it_had_and_names_where_it_comes_from(
    suite: Path, pool: Path, tmp_path: Path
) -> None:
    reusing(stub_plan(suite, budget=1, keep_images="none"), tmp_path / "run", pool)
    there = harness.load(pool).query("draw_index == 0").sort_values("prompt_id")
    here = harness.load(tmp_path / "run").sort_values("prompt_id")
    units = ("nfe", "flops", "device_seconds", "tokens")
    costs = [f"{role}_{unit}" for role in ("generator", "judge", "scorer") for unit in units]
    assert here[costs].to_numpy().tolist() == there[costs].to_numpy().tolist()
    origin = Manifest.read(pool / "manifest.json").run
    for role in ("generator", "judge", "scorer"):
        assert set(here[f"{role}_worker"]) == {reused_from(origin)}
        assert here[f"{role}_batch"].isna().all()
    manifest = Manifest.read(tmp_path / "run" / "manifest.json")
    assert manifest.sessions[0]["reused"] == {origin: SEARCHES}
    assert manifest.sessions[0]["draws"] == 0
    assert manifest.totals["generator_nfe"] == 4 * SEARCHES


def test_models_do_no_work_for_reused_draws(suite: Path, pool: Path, tmp_path: Path) -> None:
    # Whatever a model is asked now ends the draw.
    faults = Faults(tmp_path / "faults")
    for role in ("generator", "judge", "scorer"):
        faults.add(role, "error", "on-thing")
    progress = reusing(stub_plan(suite, budget=BUDGET, strategy="best-of-n"), tmp_path / "r", pool)
    assert progress.draws == 0 and progress.reused.total() == SEARCHES * BUDGET
    assert not progress.failures


def test_a_reused_run_can_be_reused_and_the_first_that_has_a_draw_answers(
    suite: Path, pool: Path, tmp_path: Path
) -> None:
    small, large = (stub_plan(suite, budget=budget) for budget in (2, BUDGET + 2))
    reusing(small, tmp_path / "small", pool)
    progress = reusing(large, tmp_path / "large", tmp_path / "small", pool)
    runs = [Manifest.read(folder / "manifest.json").run for folder in (tmp_path / "small", pool)]
    assert progress.reused == {runs[0]: 2 * SEARCHES, runs[1]: (BUDGET - 2) * SEARCHES}
    run(large, tmp_path / "alone")
    assert contents(tmp_path / "large") == contents(tmp_path / "alone")


def test_a_run_stopped_on_the_way_goes_on_with_its_pool_or_without(
    suite: Path, pool: Path, tmp_path: Path
) -> None:
    ready = stub_plan(suite, strategy=CHAIN, budget=8, keep_images="selected")
    run(ready, tmp_path / "alone")
    for others in ((pool,), ()):
        folder = tmp_path / f"parts-{len(others)}"
        left = iter(range(12))
        with pytest.raises(Interrupted):
            reusing(ready, folder, pool, stop=lambda left=left: next(left, None) is None)
        reusing(ready, folder, *others)
        assert contents(folder) == contents(tmp_path / "alone")
        assert images(folder) == images(tmp_path / "alone")


def test_a_run_that_is_answered_by_logs_alone_can_be_stopped(
    suite: Path, pool: Path, tmp_path: Path
) -> None:
    ready = stub_plan(suite, budget=BUDGET)
    with pytest.raises(Interrupted):
        reusing(ready, tmp_path / "run", pool, stop=lambda: True)
    assert len(harness.load(tmp_path / "run")) < SEARCHES * BUDGET


def test_failed_draws_are_tried_again(suite: Path, tmp_path: Path) -> None:
    faults = Faults(tmp_path / "faults")
    ready = stub_plan(suite, budget=2)
    for role in ("generator", "judge", "scorer"):
        faults.add(role, "error", f"on-{3 + len(role)}")
    run(ready, tmp_path / "pool")
    assert harness.load(tmp_path / "pool")["error"].notna().sum() > 2
    for name in faults.left():
        (faults.folder / name).unlink()
    again = stub_plan(suite, budget=2, keep_images="none")
    progress = reusing(again, tmp_path / "run", tmp_path / "pool")
    assert harness.load(tmp_path / "run")["error"].isna().all()
    assert 0 < progress.draws < 2 * SEARCHES


def test_an_unfinished_run_can_be_reused(suite: Path, tmp_path: Path) -> None:
    ready = stub_plan(suite, budget=BUDGET)
    left = iter(range(20))
    with pytest.raises(Interrupted):
        run(ready, tmp_path / "pool", stop=lambda: next(left, None) is None)
    there = len(harness.load(tmp_path / "pool"))
    progress = reusing(stub_plan(suite, budget=BUDGET + 1), tmp_path / "run", tmp_path / "pool")
    assert progress.reused.total() == there > 0


def test_images_that_were_not_kept_are_made_again(suite: Path, tmp_path: Path) -> None:
    run(stub_plan(suite, budget=BUDGET, keep_images="selected"), tmp_path / "pool")
    ready = stub_plan(suite, budget=BUDGET)
    progress = reusing(ready, tmp_path / "run", tmp_path / "pool")
    assert progress.reused.total() == SEARCHES
    run(ready, tmp_path / "alone")
    assert contents(tmp_path / "run") == contents(tmp_path / "alone")
    assert images(tmp_path / "run") == images(tmp_path / "alone")


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"seed": 1}, "it differs in seed"),
        ({"judge": "none", "strategy": "single"}, "judge.kind"),
        ({"generator_settings": {"width": "16"}}, "generator.settings.width"),
        ({"batch_size": 2}, "generator.batch_size"),
        ({"threads": 1}, "threads"),
        ({"benchmark_options": {"size": "4"}}, "benchmark.options.size"),
    ],
)
def test_a_run_whose_answers_could_be_others_is_refused(
    suite: Path, pool: Path, tmp_path: Path, asked: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        reusing(stub_plan(suite, **asked), tmp_path / "run", pool)
    assert not (tmp_path / "run").exists()


def test_images_from_elsewhere_are_refused(suite: Path, pool: Path, tmp_path: Path) -> None:
    Forger(pool).config(lambda fields: fields["generator"].update(kind=RECORDED_IMAGES))
    with pytest.raises(UsageError, match="its images were made elsewhere"):
        reusing(stub_plan(suite), tmp_path / "run", pool)


def test_other_prompts_under_the_same_name_are_refused(suite: Path, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    asked: dict[str, Any] = {
        "benchmark": "prompt-file",
        "benchmark_options": {"path": str(prompts)},
        "keep_images": "none",
    }
    prompts.write_text('{"prompt": "a cat"}\n{"prompt": "a dog"}\n')
    run(stub_plan(suite, **asked), tmp_path / "pool")
    assert reusing(stub_plan(suite, **asked, budget=1), tmp_path / "a", tmp_path / "pool").reused
    prompts.write_text('{"prompt": "a cat"}\n{"prompt": "a dog", "tag": "animal"}\n')
    with pytest.raises(UsageError, match="its prompts"):
        reusing(stub_plan(suite, **asked, budget=1), tmp_path / "b", tmp_path / "pool")


def test_other_versions_and_devices_are_refused(suite: Path, pool: Path, tmp_path: Path) -> None:
    ready = stub_plan(suite)
    # The last of them resize what the judge and the scorer look at.
    for name in ("torch", "pillow", "opencv-python-headless"):
        edit_manifest(pool, lambda of: of["environment"].update(packages=packages()))
        edit_manifest(pool, lambda of, n=name: of["environment"]["packages"].update({n: "1.0"}))
        with pytest.raises(UsageError, match=f"it differs in the version of {name}"):
            reusing(ready, tmp_path / "run", pool)
    edit_manifest(pool, lambda of: of["environment"].update(packages=packages()))
    # It was resumed under another version.
    edit_manifest(
        pool, lambda of: of["sessions"].append({"packages": {**packages(), "numpy": "1"}})
    )
    with pytest.raises(UsageError, match="it differs in the version of numpy"):
        reusing(ready, tmp_path / "run", pool)
    edit_manifest(pool, lambda of: of["sessions"].pop())
    worker = {"device": "cuda", "device_name": "NVIDIA H100"}
    edit_manifest(pool, lambda of: of["sessions"][0].update(workers={"generator-0": worker}))
    with pytest.raises(UsageError, match="made on NVIDIA H100, and this is"):
        reusing(ready, tmp_path / "run", pool)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("ask", "hint"),
    [({"strategy": CHAIN, "keep_images": "none"}, "feedback"), ({}, "--keep-images none")],
)
def test_a_run_without_images_is_refused_where_images_are_needed(
    suite: Path, tmp_path: Path, ask: dict[str, Any], hint: str
) -> None:
    run(stub_plan(suite, keep_images="none"), tmp_path / "pool")
    with pytest.raises(UsageError, match="kept no images") as caught:
        reusing(stub_plan(suite, **ask), tmp_path / "run", tmp_path / "pool")
    assert hint in str(caught.value.hint)


def test_damage_of_the_other_run_is_named(suite: Path, pool: Path, tmp_path: Path) -> None:
    ready = stub_plan(suite, budget=BUDGET + 1)
    picture = sorted((pool / "images").glob("*/*"))[0]
    good = picture.read_bytes()
    picture.write_bytes(encode(255 - decode(good)))
    with pytest.raises(HarnessError, match=picture.name) as caught:
        reusing(ready, tmp_path / "run", pool)
    assert "repair" in str(caught.value.hint)
    picture.write_bytes(good)
    shard = next((pool / "log").glob("candidates*"))
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    with pytest.raises(HarnessError, match=shard.name):
        reusing(ready, tmp_path / "other", pool)
    shard.write_bytes(whole)
    reusing(ready, tmp_path / "run", pool)
    run(ready, tmp_path / "alone")
    assert contents(tmp_path / "run") == contents(tmp_path / "alone")


def test_latencies_are_taken_from_draws_that_were_made(
    suite: Path, pool: Path, tmp_path: Path
) -> None:
    reusing(stub_plan(suite, budget=BUDGET), tmp_path / "none", pool)
    with pytest.raises(UsageError, match="no timed draws"):
        logged_workload(tmp_path / "none")


def test_prompts_that_lost_a_tag_are_other_prompts(suite: Path, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    asked: dict[str, Any] = {
        "benchmark": "prompt-file",
        "benchmark_options": {"path": str(prompts)},
    }
    prompts.write_text(
        '{"prompt": "a cat", "tag": "animal"}\n{"prompt": "a car", "tag": "thing"}\n'
    )
    run(stub_plan(suite, **asked, tags=("animal",)), tmp_path / "pool")
    prompts.write_text('{"prompt": "a cat", "tag": "pet"}\n{"prompt": "a car", "tag": "thing"}\n')
    with pytest.raises(UsageError, match="pool cannot be reused: it differs in its prompts"):
        reusing(stub_plan(suite, **asked, budget=1), tmp_path / "run", tmp_path / "pool")


def test_a_config_of_another_version_is_named_with_its_run(
    suite: Path, pool: Path, tmp_path: Path
) -> None:
    def edit(fields: dict[str, Any]) -> None:
        fields["config"]["novelty"] = 1
        fields["config_digest"] = config_digest(fields["config"])

    edit_manifest(pool, edit)
    with pytest.raises(HarnessError, match=r"pool cannot be reused: .* not valid: novelty"):
        reusing(stub_plan(suite), tmp_path / "run", pool)


@pytest.mark.parametrize(
    "sessions", [[], [{}], [{"workers": {"generator-0": {}}}], [{"workers": {"g": {"pid": 1}}}]]
)
def test_draws_that_were_made_on_nobody_knows_what_are_refused(
    suite: Path, pool: Path, tmp_path: Path, sessions: list[dict[str, Any]]
) -> None:
    edit_manifest(pool, lambda of: of.update(sessions=sessions))
    with pytest.raises(UsageError, match="made on nobody knows what, and this is"):
        reusing(stub_plan(suite), tmp_path / "run", pool)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "broken",
    [
        {"environment": None},
        {"environment": {"packages": None}},
        {"sessions": ["monday"]},
        {"sessions": [{"workers": ["generator-0"]}]},
    ],
)
def test_a_manifest_that_holds_anything_is_damaged(
    suite: Path, pool: Path, tmp_path: Path, broken: dict[str, Any]
) -> None:
    edit_manifest(pool, lambda of: of.update(broken))
    with pytest.raises(HarnessError, match=r"manifest\.json is damaged"):
        reusing(stub_plan(suite), tmp_path / "run", pool)


def test_the_hint_on_a_damaged_image_can_be_pasted(suite: Path, pool: Path, tmp_path: Path) -> None:
    spaced = pool.rename(tmp_path / "a pool")
    sorted((spaced / "images").glob("*/*"))[0].write_bytes(b"")
    with pytest.raises(HarnessError, match="damaged") as caught:
        reusing(stub_plan(suite, budget=BUDGET), tmp_path / "run", spaced)
    assert f"repair '{spaced}'" in caught.value.hint
