"""Long runs of fake models: memory stays flat, nobody is held up, and nothing is lost at a stop."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from harness.engine.launch import Execution, work
from harness.engine.progress import Progress
from harness.log import store
from harness.log.images import decode
from harness.log.run_folder import RunFolder
from harness.log.store import LogWriter
from harness.records import Role
from strategies.best_of_n import BestOfN
from strategies.reflect import Reflect
from tests.fakes import FakeExecutor, fake_plan, fake_png
from tests.perf.bookkeeping import open_bytes
from tests.perf.load import Load, measure_load


@pytest.mark.slow
def test_memory_is_linear_in_open_searches() -> None:
    few, many = open_bytes(50), open_bytes(400)
    assert few > 0 and many / 400 == pytest.approx(few / 50, rel=0.25)


@pytest.mark.parametrize("strategy", [BestOfN(), Reflect()])
def test_a_run_of_fake_models_is_a_run(strategy: BestOfN | Reflect, tmp_path: Path) -> None:
    ready = fake_plan(strategy, prompts=9, budget=5, batch_size=4)
    folder, executor = RunFolder(tmp_path / "run"), FakeExecutor(dict.fromkeys(Role, 0.0))
    most: list[int] = []

    def watch(progress: Progress) -> None:
        most.append(max(max(held) for held in executor._held.values()))

    progress = work(ready, Execution(), folder, command="test", executor=executor, observe=watch)
    assert progress is not None and progress.searches_ended == 9
    log = store.read(folder.log, "candidates")
    assert log.num_rows == progress.draws <= 45
    assert log["error"].null_count == log.num_rows and max(most) <= 2
    assert not list(folder.images.glob("*/*.png"))


MEGA = 2**20
FLAT = 5 * MEGA  # the log's buffer fills and empties meanwhile, which takes half of this


def traced_load(folder: Path, **options: Any) -> Load:
    """A long run, its memory counted by allocation: a heap that is there already hides nothing."""
    measure_load(folder.with_name("warm"), candidates=600, latency=0.0)  # imports what there is
    tracemalloc.start()
    try:
        return measure_load(
            folder, latency=0.0, memory=lambda: tracemalloc.get_traced_memory()[0], **options
        )
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_a_long_run_stops_and_resumes_with_every_row(tmp_path: Path) -> None:
    result = traced_load(tmp_path / "run", candidates=3000)
    assert result.candidates == 3000
    assert result.shards[0] > 2 and result.shards[1] == 2
    assert result.resume_seconds > 0
    assert result.early_bytes <= result.late_bytes <= result.peak_bytes
    assert result.late_bytes - result.early_bytes < FLAT


@pytest.mark.slow
@pytest.mark.parametrize("what", ["rows", "images"])
def test_rows_or_images_that_were_kept_would_show(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[object] = []
    if what == "rows":
        append = LogWriter.append
        monkeypatch.setattr(
            LogWriter, "append", lambda log, *row: (saved.append(row), append(log, *row))[1]
        )
    else:
        monkeypatch.setattr(
            "tests.fakes.fake_png",
            lambda name: saved.append(made := fake_png(name)) or made,
        )
    result = traced_load(tmp_path / "run", candidates=3000)
    assert result.late_bytes - result.early_bytes > FLAT + MEGA


@pytest.mark.slow
def test_a_slow_scorer_does_not_fill_the_memory(tmp_path: Path) -> None:
    # Were nobody held back, most of 20 MB of images would wait for it at once.
    result = traced_load(tmp_path / "run", candidates=1000, workers=1, scorer_latency=0.04)
    assert result.candidates == 1000
    assert result.late_bytes - result.start_bytes < FLAT + 3 * MEGA


@pytest.mark.slow
def test_fake_images_are_images_and_differ() -> None:
    one, other = fake_png("a" * 32), fake_png("b" * 32)
    assert one != other and 20_000 <= len(one) < 21_000
    assert decode(one).shape == (8, 8, 3)
