"""The engine on stubs: same content whatever the order, nothing lost, nothing made twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pytest

import harness
from harness.engine import launch
from harness.engine.executors.inline import InlineExecutor
from harness.engine.jobs import Job
from harness.engine.launch import Execution
from harness.errors import Failure, HarnessError, Interrupted, UsageError
from harness.log import store
from harness.log.files import write_atomically
from harness.log.images import ImageStore, decode
from harness.log.manifest import Manifest
from harness.log.run_folder import RunFolder
from harness.records import Draw, Role, Task
from harness.seeds import pixel_digest
from strategies.base import Rounds, Strategy, best
from strategies.best_of_n import BestOfN
from tests.runs import ShuffledExecutor, contents, run, run_in_parts, stub_plan
from tests.stubs import CHAIN, Faults, StubGenerator


def test_a_run_has_every_draw_and_every_search(suite: Path, tmp_path: Path) -> None:
    ready = stub_plan(suite, budget=3, replicates=2)
    progress = run(ready, tmp_path / "run")
    assert progress is not None and progress.draws == 10 * 2 * 3
    frame = harness.load(tmp_path / "run")
    assert len(frame) == 60
    assert frame["selected"].sum() == 20
    assert frame["error"].isna().all() and frame["correct"].notna().all()
    picked = frame[frame["selected"]].set_index(["prompt_id", "replicate"])["judge_score"]
    assert (frame.groupby(["prompt_id", "replicate"])["judge_score"].max() == picked).all()
    assert Manifest.read(tmp_path / "run" / "manifest.json").state == "finished"


@pytest.mark.parametrize("select", ["score", "first-accepted"])
def test_without_a_judge_nobody_is_asked_and_nothing_else_changes(
    suite: Path, tmp_path: Path, select: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Role] = []
    submit = InlineExecutor.submit

    def spy(self: InlineExecutor, job: Job) -> None:
        asked.append(job.role)
        submit(self, job)

    monkeypatch.setattr(InlineExecutor, "submit", spy)
    ask = {"strategy": "best-of-n", "strategy_options": {"select": select}}
    run(stub_plan(suite, **ask), tmp_path / "judged")
    assert Role.JUDGE in asked
    asked.clear()
    monkeypatch.setattr(BestOfN, "needs_judge", False)  # a plug-in need not say so
    progress = run(stub_plan(suite, **ask, judge="none"), tmp_path / "run")
    assert progress is not None and progress.draws == 40
    assert set(asked) == {Role.GENERATOR, Role.SCORER}
    frame = harness.load(tmp_path / "run")
    assert not frame["accepted"].any() and (frame["judge_score"] == 0).all()
    assert frame["correct"].notna().all() and frame["judge_worker"].isna().all()


def test_images_are_kept_by_the_digest_of_their_pixels(suite: Path, tmp_path: Path) -> None:
    run(stub_plan(suite), tmp_path / "run")
    frame = harness.load(tmp_path / "run")
    for digest in frame["image"]:
        png = (tmp_path / "run" / "images" / digest[:2] / f"{digest}.png").read_bytes()
        assert pixel_digest(decode(png)) == digest


@pytest.mark.parametrize("keep", ["selected", "none"])
@pytest.mark.parametrize("strategy", ["best-of-n", CHAIN])
def test_images_nobody_needs_are_removed(
    suite: Path, tmp_path: Path, keep: str, strategy: str
) -> None:
    run(stub_plan(suite, strategy=strategy, keep_images=keep), tmp_path / "run")
    frame = harness.load(tmp_path / "run")
    left = {path.stem for path in (tmp_path / "run" / "images").glob("*/*.png")}
    assert left == (set(frame.loc[frame["selected"], "image"]) if keep == "selected" else set())


@pytest.mark.sampled(2)
@pytest.mark.parametrize("strategy", ["best-of-n", CHAIN])
@pytest.mark.parametrize("seed", range(4))
def test_the_order_of_answers_does_not_matter(
    suite: Path, tmp_path: Path, strategy: str, seed: int
) -> None:
    ready = stub_plan(suite, strategy=strategy, replicates=2)
    run(ready, tmp_path / "inline")
    run(ready, tmp_path / "shuffled", executor=ShuffledExecutor(ready, seed))
    assert contents(tmp_path / "inline") == contents(tmp_path / "shuffled")


@pytest.mark.sampled(2)
@pytest.mark.parametrize("options", [("best-of-n", {"select": "first-accepted"}), (CHAIN, {})])
@pytest.mark.parametrize("shuffled", [False, True])
def test_batches_are_full_for_as_long_as_searches_can_be_opened(
    suite: Path, tmp_path: Path, options: tuple[str, dict[str, str]], shuffled: bool
) -> None:
    ready = stub_plan(
        suite,
        strategy=options[0],
        strategy_options=options[1],
        benchmark_options={"size": "60"},
        budget=6,
    )
    executor = ShuffledExecutor(ready, seed=1) if shuffled else None
    run(ready, tmp_path / "run", executor=executor)
    frame = harness.load(tmp_path / "run")
    batch = frame["generator_batch"].astype(int)
    rows = batch.value_counts()
    last_opened = batch[frame["draw_index"] == 0].max()
    early = rows[rows.index < last_opened]
    assert len(early) > 20 and (early == 4).all()
    # Searches ended on the way, and others took their places.
    ended = batch[frame["selected"]]
    assert (ended < last_opened).sum() > 15


@pytest.mark.parametrize("strategy", ["best-of-n", CHAIN])
def test_a_run_stopped_anywhere_resumes_to_the_same_log(
    suite: Path, tmp_path: Path, strategy: str
) -> None:
    ready = stub_plan(suite, strategy=strategy, keep_images="selected")
    run(ready, tmp_path / "whole")
    assert run_in_parts(ready, tmp_path / "parts", 6) > 3
    assert contents(tmp_path / "whole") == contents(tmp_path / "parts")
    assert {p.name for p in (tmp_path / "whole" / "images").glob("*/*")} == {
        p.name for p in (tmp_path / "parts" / "images").glob("*/*")
    }


def test_what_the_log_holds_is_not_made_again(
    suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = stub_plan(suite, strategy=CHAIN)
    steps = iter(range(10**9))
    with pytest.raises(Interrupted):
        run(ready, tmp_path / "run", stop=lambda: next(steps) == 20)
    logged = set(store.read(RunFolder(tmp_path / "run").log, "candidates")["draw_id"].to_pylist())
    assert logged
    again: list[str] = []
    generate = StubGenerator.generate

    def spy(self: StubGenerator, requests: list) -> list:  # type: ignore[type-arg]
        again.extend(request.id for request in requests)
        return generate(self, requests)

    monkeypatch.setattr(StubGenerator, "generate", spy)
    progress = run(ready, tmp_path / "run")
    assert progress is not None and again
    assert not logged & set(again)
    assert len(again) == len(set(again))


def test_a_finished_run_is_left_alone(suite: Path, tmp_path: Path) -> None:
    ready = stub_plan(suite)
    run(ready, tmp_path / "run")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*") if p.is_file()}
    assert run(ready, tmp_path / "run") is None
    after = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*") if p.is_file()}
    assert before == after


def test_a_folder_of_another_config_is_refused(suite: Path, tmp_path: Path) -> None:
    run(stub_plan(suite), tmp_path / "run")
    with pytest.raises(UsageError, match="differs in budget"):
        run(stub_plan(suite, budget=5), tmp_path / "run")


def test_a_folder_that_is_no_run_is_refused(suite: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.txt").write_text("mine")
    with pytest.raises(UsageError, match="not a run"):
        run(stub_plan(suite), tmp_path / "photos")
    assert [p.name for p in (tmp_path / "photos").iterdir()] == ["holiday.txt"]


def test_a_driver_killed_in_its_first_write_blocks_nobody(suite: Path, tmp_path: Path) -> None:
    ready = stub_plan(suite)
    folder = tmp_path / "run"
    folder.mkdir()
    for name in (".lock", ".tmp-a1b2c3d4"):
        (folder / name).write_text("half a manif")
    assert run(ready, folder) is not None
    own = [".lock", "images", "log", "manifest.json", "prompts.jsonl"]
    assert sorted(p.name for p in folder.iterdir()) == own


@pytest.mark.parametrize("keep", ["all", "selected"])
def test_what_a_killed_driver_was_writing_is_removed_by_the_next(
    suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: str
) -> None:
    """A leftover is made where it would be: by a write that ends before its rename."""
    import os

    ready = stub_plan(suite, keep_images=keep)
    folder = tmp_path / "run"
    steps = iter(range(10**9))
    with pytest.raises(Interrupted):
        run(ready, folder, stop=lambda: next(steps) == 12)

    class Killed(BaseException):
        pass

    def die(source: object, target: object) -> None:
        raise Killed

    digest = "abcd" * 8
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", die)
        for path in (folder / "manifest.json", folder / "log" / "shard"):
            with pytest.raises(Killed):
                write_atomically(path, b"half")
        with pytest.raises(Killed):
            ImageStore(folder / "images").write(digest, b"half")
    assert len(list(folder.rglob(".tmp-*"))) == 3
    run(ready, folder)
    assert not list(folder.rglob(".tmp-*"))


@pytest.mark.sampled(3)
@pytest.mark.parametrize("role", ["generator", "judge", "scorer"])
@pytest.mark.parametrize("strategy", ["best-of-n", CHAIN])
def test_a_passing_failure_changes_nothing_but_the_attempts(
    suite: Path, tmp_path: Path, faults: Faults, role: str, strategy: str
) -> None:
    ready = stub_plan(suite, strategy=strategy)
    run(ready, tmp_path / "calm")
    for number in range(2):
        faults.add(role, "error", number)
    progress = run(ready, tmp_path / "rough")
    assert progress is not None and not faults.left()
    assert progress.failures == {(Role(role), Failure.EXCEPTION): 2}
    assert contents(tmp_path / "calm") == contents(tmp_path / "rough")
    assert harness.load(tmp_path / "rough")["attempts"].max() > 1


@pytest.mark.parametrize("kind", ["black", "nan", "shape", "short", "sysexit"])
def test_what_is_no_picture_is_made_again(
    suite: Path, tmp_path: Path, faults: Faults, kind: str
) -> None:
    ready = stub_plan(suite)
    run(ready, tmp_path / "calm")
    faults.add("generator", kind, 0)
    run(ready, tmp_path / "rough")
    assert not faults.left()
    assert contents(tmp_path / "calm") == contents(tmp_path / "rough")


@pytest.mark.parametrize("role", ["generator", "judge", "scorer"])
def test_a_draw_that_always_fails_becomes_a_row_with_its_error(
    suite: Path, tmp_path: Path, faults: Faults, role: str
) -> None:
    faults.add(role, "error", "on-thing 3")
    progress = run(stub_plan(suite), tmp_path / "run")
    frame = harness.load(tmp_path / "run")
    assert len(frame) == 40
    failed = frame[frame["error"].notna()]
    assert set(failed["prompt_id"]) == {"00003"} and len(failed) == 4
    assert set(failed["error_role"]) == {role}
    assert failed["error"].str.contains("scripted failure").all()
    searches = store.read(RunFolder(tmp_path / "run").log, "searches").to_pandas()
    lost = searches[searches["selected_index"].isna()]
    if role == "scorer":  # the search is none of the scorer's business
        assert lost.empty and failed["image"].notna().all()
    else:
        assert list(lost["prompt_id"]) == ["00003"]
        assert lost["error"].str.contains("every draw failed").all()
    assert progress is not None and progress.draws_failed == 4


def test_a_failed_search_is_in_no_score(suite: Path, tmp_path: Path, faults: Faults) -> None:
    from harness.runs.summary import summarise

    run(stub_plan(suite), tmp_path / "calm")
    faults.add("generator", "error", "on-thing 3")
    run(stub_plan(suite), tmp_path / "rough")
    calm, rough = summarise(tmp_path / "calm"), summarise(tmp_path / "rough")
    frame = harness.load(tmp_path / "calm")
    right = frame[frame["selected"]].set_index("prompt_id")["correct"].astype(float)
    assert calm.micro and rough.micro
    assert rough.searches == 10 and rough.searches_failed == 1
    assert (calm.searches_scored, rough.searches_scored) == (10, 9)
    assert rough.micro.value == pytest.approx(right.drop("00003").mean())
    assert rough.least == pytest.approx(right.drop("00003").sum() / 10)


@dataclass(frozen=True)
class Rogue(Strategy):
    """Behaves for every prompt but one."""

    name: ClassVar[str] = "rogue"

    def search(self, task: Task) -> Rounds:
        candidates = yield [Draw(0)]
        if task.prompt == "thing 4":
            yield [Draw(index) for index in range(1, 100)]
        return best(candidates)


def test_a_rogue_strategy_fails_its_own_search_only(suite: Path, tmp_path: Path) -> None:
    run(stub_plan(suite, strategy="tests.engine.test_engine:Rogue"), tmp_path / "run")
    searches = store.read(RunFolder(tmp_path / "run").log, "searches").to_pandas()
    assert len(searches) == 10
    failed = searches[searches["error"].notna()]
    assert list(failed["prompt_id"]) == ["00004"]
    assert failed["error"].str.contains("beyond its budget of 4").all()


def test_a_log_that_another_strategy_wrote_is_not_believed(suite: Path, tmp_path: Path) -> None:
    ready = stub_plan(suite, strategy=CHAIN)
    steps = iter(range(10**9))
    with pytest.raises(Interrupted):
        run(ready, tmp_path / "run", stop=lambda: next(steps) == 12)
    log = RunFolder(tmp_path / "run").log
    rows = store.read(log, "candidates").to_pylist()
    assert rows
    for path in log.glob("candidates-*"):
        path.unlink()
    for row in rows:
        row["draw_id"] = "0" * 32
    writer = store.LogWriter(log)
    for row in rows:
        writer.append("candidates", row)
    writer.flush()
    with pytest.raises(HarnessError, match="not the one in the log"):
        run(ready, tmp_path / "run")


def test_a_full_disk_stops_the_run_and_loses_nothing(
    suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno
    import os

    ready = stub_plan(suite)
    run(ready, tmp_path / "whole")
    replace, room = os.replace, iter(range(30))

    def full(source: str, target: object) -> None:
        if next(room, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(HarnessError, match="No space left"):
            run(ready, tmp_path / "run")
    assert not list((tmp_path / "run").rglob(".tmp-*"))
    run(ready, tmp_path / "run")
    assert contents(tmp_path / "whole") == contents(tmp_path / "run")


def test_the_second_driver_is_refused(suite: Path, tmp_path: Path) -> None:
    from harness.log.lock import exclusive

    (tmp_path / "run").mkdir()
    with exclusive(tmp_path / "run"), pytest.raises(HarnessError, match=r"another process \(pid"):
        run(stub_plan(suite), tmp_path / "run")


@pytest.mark.parametrize("stopped", [False, True])
def test_what_another_driver_did_until_the_lock_was_free_is_seen(
    suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped: bool
) -> None:
    """It ends, or stops, after this driver looked and before it holds the folder."""
    ready = stub_plan(suite)
    steps = iter(range(10**9))
    with pytest.raises(Interrupted):
        run(ready, tmp_path / "run", stop=lambda: next(steps) == 8)
    exclusive, seen = launch.exclusive, []

    @contextmanager
    def late(folder: Path) -> Iterator[None]:
        with monkeypatch.context() as patch, suppress(Interrupted):
            patch.setattr(launch, "exclusive", exclusive)
            run(ready, tmp_path / "run", stop=lambda: stopped and next(steps) == 20)
        seen.append(Manifest.read(tmp_path / "run" / "manifest.json"))
        with exclusive(folder):
            yield

    monkeypatch.setattr(launch, "exclusive", late)
    progress = run(ready, tmp_path / "run")
    result = Manifest.read(tmp_path / "run" / "manifest.json")
    assert result.state == "finished" and seen[0].sessions == result.sessions[:2]
    assert len(seen[0].sessions) == 2
    if stopped:
        assert progress is not None and len(result.sessions) == 3
    else:
        assert progress is None and result == seen[0]


def test_a_folder_taken_by_another_config_until_the_lock_was_free_is_refused(
    suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exclusive = launch.exclusive

    @contextmanager
    def late(folder: Path) -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setattr(launch, "exclusive", exclusive)
            run(stub_plan(suite, budget=5), tmp_path / "run")
        with exclusive(folder):
            yield

    monkeypatch.setattr(launch, "exclusive", late)
    with pytest.raises(UsageError, match="differs in budget"):
        run(stub_plan(suite), tmp_path / "run")
    assert Manifest.read(tmp_path / "run" / "manifest.json").config["budget"] == 5


def test_a_refused_driver_leaves_the_folder_to_its_holder(
    suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both found no folder; the one that is refused must not take it, or its lock, away."""
    exclusive, refused = launch.exclusive, []

    @contextmanager
    def first(folder: Path) -> Iterator[None]:
        with exclusive(folder):
            monkeypatch.setattr(launch, "exclusive", exclusive)
            monkeypatch.setattr(Path, "exists", lambda path: path != folder and exists(path))
            with pytest.raises(HarnessError, match="another process") as caught:
                run(stub_plan(suite), tmp_path / "run")
            monkeypatch.setattr(Path, "exists", exists)
            refused.append(caught.value)
            assert (folder / ".lock").exists()
            yield

    exists = Path.exists
    monkeypatch.setattr(launch, "exclusive", first)
    run(stub_plan(suite), tmp_path / "run")
    assert refused and Manifest.read(tmp_path / "run" / "manifest.json").state == "finished"


def test_an_inline_run_takes_one_worker(suite: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="one worker"):
        run(
            stub_plan(suite),
            tmp_path / "run",
            execution=Execution(executor="inline", workers=2),
        )


def test_contents_really_differ_between_seeds(suite: Path, tmp_path: Path) -> None:
    run(stub_plan(suite, seed=1), tmp_path / "one")
    run(stub_plan(suite, seed=2), tmp_path / "two")
    one: pa.Table = contents(tmp_path / "one")[0]
    two: pa.Table = contents(tmp_path / "two")[0]
    assert not set(one["image"].to_pylist()) & set(two["image"].to_pylist())
