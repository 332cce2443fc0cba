"""Images that an open search needs as feedback are held to their names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness.errors import Interrupted
from harness.log import store
from harness.log.images import encode
from harness.log.manifest import Manifest
from harness.log.run_folder import RunFolder
from tests.runs import contents, run, stub_plan
from tests.stubs import make_stub_suite
from tests.terminal import Terminal

BUDGET = 6


def flip(path: Path) -> None:
    """One bit of a pixel: most decoders do not notice."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(bytes(data))


def empty(path: Path) -> None:
    """What a power cut leaves of a file that never reached the disk."""
    path.write_bytes(b"")


def exchange(path: Path) -> None:
    path.write_bytes(encode(np.full((8, 8, 3), 9, np.uint8)))


def lose(path: Path) -> None:
    path.unlink()


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    ready = stub_plan(make_stub_suite(tmp_path)[0], strategy="reflect", budget=BUDGET)
    run(ready, tmp_path / "whole")
    return tmp_path / "whole"


@pytest.fixture
def stopped(tmp_path: Path, whole: Path) -> Path:
    ready = stub_plan(tmp_path / "stub.toml", strategy="reflect", budget=BUDGET)
    steps = iter(range(10**9))
    with pytest.raises(Interrupted):
        run(ready, tmp_path / "r", stop=lambda: next(steps) == 12)
    return tmp_path / "r"


def needed(folder: Path) -> tuple[Path, tuple[str, int]]:
    """An image that the next draw of an open search has for feedback, and its draw."""
    log = RunFolder(folder).log
    ended = set(store.read(log, "searches", ["prompt_id"])["prompt_id"].to_pylist())
    rows = [
        row
        for row in store.read(log, "candidates").to_pylist()
        if row["prompt_id"] not in ended and not row["accepted"]
    ]
    row = max(rows, key=lambda row: row["draw_index"])
    assert row["draw_index"] < BUDGET - 1
    digest = row["image"]
    return folder / "images" / digest[:2] / f"{digest}.png", (row["prompt_id"], row["draw_index"])


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (flip, "is damaged: "),
        (empty, "is damaged: "),
        (exchange, "is damaged: its pixels are others"),
        (lose, "cannot be read: No such file"),
    ],
)
def test_a_damaged_feedback_image_is_named_and_nothing_is_drawn_from_it(
    harness: Terminal, stopped: Path, whole: Path, damage: Callable[[Path], None], says: str
) -> None:
    image, draw = needed(stopped)
    damage(image)
    assert harness("resume", "r") == 1
    (error,) = [line for line in harness.err.splitlines() if line.startswith("error: ")]
    assert str(image.relative_to(stopped)) in error and says in error
    assert "python -m harness repair r" in harness.err
    rows = store.read(RunFolder(stopped).log, "candidates").to_pylist()
    assert not any(row["error"] for row in rows)
    of_it = [row["draw_index"] for row in rows if row["prompt_id"] == draw[0]]
    assert max(of_it) == draw[1], "no draw was made from it"

    assert harness("repair", "r") == 0, harness.err
    assert str(image.relative_to(stopped)) in harness.out
    assert (stopped / "damaged" / image.name).exists() == (damage is not lose)
    repaired = Manifest.read(RunFolder(stopped).manifest).sessions[-1]["repaired"]
    assert len(repaired) == 1 and image.name in repaired[0]
    assert harness("resume", "r") == 0, harness.err
    assert contents(stopped) == contents(whole)
    assert {path.name for path in stopped.glob("images/*/*")} == {
        path.name for path in whole.glob("images/*/*")
    }
    assert harness("repair", "r") == 0 and "nothing is damaged" in harness.out


def test_what_a_power_cut_left_of_an_image_is_written_anew(stopped: Path, whole: Path) -> None:
    """Its row was lost as well, so the draw is made again, and is feedback in the same session."""
    logged = set(store.read(RunFolder(stopped).log, "candidates")["image"].to_pylist())
    later = set(store.read(RunFolder(whole).log, "candidates")["image"].to_pylist()) - logged
    assert later
    for digest in later:
        path = stopped / "images" / digest[:2] / f"{digest}.png"
        path.parent.mkdir(exist_ok=True)
        empty(path)
    run(stub_plan(stopped.parent / "stub.toml", strategy="reflect", budget=BUDGET), stopped)
    assert contents(stopped) == contents(whole)


@pytest.mark.parametrize("damage", [flip, empty, exchange])
def test_a_damaged_image_of_a_finished_run_is_set_aside_and_made_again(
    harness: Terminal, whole: Path, damage: Callable[[Path], None]
) -> None:
    before = contents(whole)
    rows = store.read(RunFolder(whole).log, "candidates").to_pylist()
    image = rows[0]["image"]
    path = next((whole / "images").glob(f"*/{image}.png"))
    damage(path)
    assert harness("repair", whole) == 0
    assert f"{image}.png is damaged" in harness.out and "harness resume" in harness.out
    assert (whole / "damaged" / path.name).exists() and not path.exists()
    assert Manifest.read(RunFolder(whole).manifest).state == "running"
    assert harness("resume", whole) == 0
    assert contents(whole) == before and path.exists()
    assert harness("repair", whole) == 0 and "nothing is damaged" in harness.out


def test_images_that_a_finished_run_has_let_go_of_are_no_damage(
    harness: Terminal, whole: Path
) -> None:
    for path in (whole / "images").glob("*/*.png"):
        path.unlink()
    assert harness("repair", whole) == 0 and "nothing is damaged" in harness.out
