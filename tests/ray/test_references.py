"""Images on a cluster stay where they were made: the driver never holds one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import ray
from ray.exceptions import ObjectLostError

from harness.engine.executors.actor import Slot
from harness.engine.executors.ray import Placement, RayExecutor
from harness.engine.jobs import Drawn, Job, Remote, Response, with_pixels, without_pixels
from harness.engine.launch import Execution
from harness.engine.worker import Setup
from harness.errors import Failure, HarnessError
from harness.log import images
from harness.log.images import ImageStore
from harness.log.run_folder import RunFolder
from harness.records import Feedback, Inquiry, Look, Prompt, Request, Role, Score
from harness.seeds import pixel_digest
from tests.engine.executor_contract import draws, finish
from tests.runs import contents, run, stub_plan
from tests.stubs import CHAIN, make_stub_suite
from tests.terminal import wait_until

LARGE = {"height": 256, "width": 256, "num_inference_steps": 2}
"""Too large for Ray to send it along with the answer."""

ON_RAY = Execution(executor="ray")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("references")


@pytest.fixture(scope="module")
def executor(folder: Path, ray_cluster: None) -> Iterator[RayExecutor]:
    """One for all: actors take seconds to start, and nothing here harms the next test."""
    ready = stub_plan(make_stub_suite(folder)[0])
    roles = (Role.GENERATOR, Role.SCORER)
    executor = RayExecutor(
        Setup(ready.config, ready.paths), {role: Placement() for role in roles},
        images=folder / "images",
    )  # fmt: skip
    try:
        executor.start()
        yield executor
    finally:
        executor.close()


def large(number: int) -> tuple[Request[Any], ...]:
    return tuple(replace(draw, settings=LARGE) for draw in draws(number))


def gone() -> Any:
    """A reference to what went down with its node."""

    @ray.remote(num_cpus=0)
    def lose() -> None:
        raise ObjectLostError("0" * 56, None, "")

    return lose.remote()


def drawn(executor: RayExecutor, number: int) -> Drawn:
    wait_until(lambda: bool(executor.free(Role.GENERATOR) or executor.wait(0.5)))
    executor.submit(Job(number, Role.GENERATOR, large(number)))
    (answer,) = finish(executor, 1)[0].answers
    assert isinstance(answer, Drawn) and isinstance(answer.png, Remote)
    return answer


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("keep", ["all", "none"])
def test_a_run_whose_driver_neither_writes_nor_reads_images(
    suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: str
) -> None:
    ready = stub_plan(suite, strategy=CHAIN, keep_images=keep)
    run(ready, tmp_path / "inline")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the driver has an image")

    for name in ("write", "read"):
        monkeypatch.setattr(ImageStore, name, refuse)
    for name in ("encode", "decode"):
        monkeypatch.setattr(images, name, refuse)
    run(ready, tmp_path / "ray", execution=ON_RAY)
    assert contents(tmp_path / "inline") == contents(tmp_path / "ray")
    files = [
        {path.name: path.read_bytes() for path in RunFolder(tmp_path / name).images.glob("*/*")}
        for name in ("inline", "ray")
    ]
    assert files[0] == files[1] and bool(files[0]) == (keep != "none")


def test_an_image_goes_from_generator_to_scorer_and_disk(
    executor: RayExecutor, folder: Path
) -> None:
    answer = drawn(executor, 1)
    png = ImageStore(folder / "images").read(answer.digest, check=True)
    pixels = ray.get(answer.png.reference)
    assert isinstance(pixels, np.ndarray) and pixel_digest(pixels) == answer.digest
    assert np.array_equal(images.decode(png), pixels)
    executor.submit(Job(2, Role.SCORER, (Look(Prompt("0", "thing 1"), answer.png),)))
    (scored,) = finish(executor, 1)[0].answers
    assert isinstance(scored, Response) and isinstance(scored.value, Score)


def test_an_image_outlives_the_actor_that_made_it(executor: RayExecutor) -> None:
    answer = drawn(executor, 1)
    generator = next(slot for slot in executor._slots if slot.role is Role.GENERATOR)
    ray.kill(generator.actor)
    executor.submit(Job(2, Role.SCORER, (Look(Prompt("0", "thing 1"), answer.png),)))
    assert finish(executor, 1)[0].error is None
    executor.submit(Job(3, Role.GENERATOR, large(3)))
    assert finish(executor, 1)[0].crashed  # and is replaced


def test_an_image_that_is_lost_is_no_fault_of_who_was_to_look(executor: RayExecutor) -> None:
    answer = drawn(executor, 1)
    answer.png.reference = gone()
    look = Look(Prompt("0", "thing 1"), answer.png)
    executor.submit(Job(2, Role.SCORER, (look,)))
    (outcome,) = finish(executor, 1)
    assert outcome.failure is Failure.NODE_LOST and not outcome.crashed and answer.png.is_lost
    again = executor.image(answer.digest, check=True)
    executor.submit(Job(3, Role.SCORER, (replace(look, image=again),)))
    assert finish(executor, 1)[0].error is None
    assert "scorer" not in executor.describe()["deaths"]


@pytest.mark.usefixtures("ray_cluster")
def test_a_run_that_loses_images_reads_them_again(
    suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = stub_plan(suite, strategy=CHAIN, generator_settings={"height": 256, "width": 256})
    run(ready, tmp_path / "calm")
    give, lost = Slot.give, 0

    def lose(slot: Slot, job: Job) -> None:
        nonlocal lost
        pixels = without_pixels(job.items)[1]
        if slot.role is Role.JUDGE and lost < 3 and isinstance(pixels[0], Remote):
            lost += 1
            pixels[0].reference = gone()
        give(slot, job)

    monkeypatch.setattr(Slot, "give", lose)
    progress = run(ready, tmp_path / "rough", execution=ON_RAY)
    assert lost == 3 and progress is not None
    # The scorer has the same reference, and may have had the image before it went.
    assert progress.failures[Role.JUDGE, Failure.NODE_LOST] == 3
    assert {failure for _, failure in progress.failures} == {Failure.NODE_LOST}
    assert contents(tmp_path / "calm") == contents(tmp_path / "rough")


def test_a_damaged_image_ends_the_run_with_one_sentence(
    executor: RayExecutor, folder: Path
) -> None:
    answer = drawn(executor, 1)
    ImageStore(folder / "images").path(answer.digest).write_bytes(b"no picture")
    again = executor.image(answer.digest, check=True)
    feedback = (Feedback("id1", "There is no thing"),)
    (draw,) = large(2)
    draw = replace(draw, feedback=feedback, images={"id1": again})
    executor.submit(Job(2, Role.GENERATOR, (draw,)))
    with pytest.raises(HarnessError, match="is damaged: it is no picture"):
        finish(executor, 1)


def test_an_image_that_cannot_be_written_ends_the_run(executor: RayExecutor, folder: Path) -> None:
    drawn(executor, 1)
    (folder / "images").rename(folder / "elsewhere")
    (folder / "images").write_text("a file")
    executor.submit(Job(2, Role.GENERATOR, large(2)))
    with pytest.raises(HarnessError, match="images"):
        finish(executor, 1)
    (folder / "images").unlink()
    (folder / "elsewhere").rename(folder / "images")


def test_items_come_back_from_their_parts() -> None:
    prompt = Prompt("0", "a")
    look = Look(prompt, b"<1>")
    start: Request[Any] = Request("s", "a", ((1, 1.0),), {}, images={"x": b"<2>"})
    request = Request("r", "a", ((1, 1.0),), {}, images={"y": b"<3>", "z": b"<4>"}, start=start)
    items = (request, look, Inquiry(prompt, "what is wrong?", (b"<5>", b"<6>")))
    bare, pixels = without_pixels(items)
    assert sorted(pixels) == sorted([b"<1>", b"<2>", b"<3>", b"<4>", b"<5>", b"<6>"])  # type: ignore[type-var]
    assert not any(name in repr(bare) for name in ("<1>", "<2>", "<3>", "<4>", "<5>", "<6>"))
    assert with_pixels(bare, pixels) == items


def test_feedback_goes_to_who_has_encoded_it() -> None:
    executor = RayExecutor(None, {Role.GENERATOR: Placement(2)})  # type: ignore[arg-type]
    given: list[str] = []

    def slot(name: str) -> Slot:
        run = SimpleNamespace(remote=lambda *_: given.append(name))
        return Slot(name, Role.GENERATOR, actor=SimpleNamespace(run=run))

    executor._slots = [slot("first"), slot("second")]

    def job(number: int, *feedback: str) -> Job:
        (draw,) = draws(number)
        return Job(
            number,
            Role.GENERATOR,
            (replace(draw, feedback=tuple(Feedback(f, "") for f in feedback)),),
        )

    executor.submit(job(1, "a"))
    executor.submit(job(2, "b"))
    for each in executor._slots:
        each.take()
    executor.submit(job(3, "b", "a", "b"))
    assert given == ["first", "second", "second"]
