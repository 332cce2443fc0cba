from __future__ import annotations

import os
import re
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from harness.bench.bookkeeping import log_speed, open_bytes, searches_per_second
from harness.bench.engine import Side, measure
from harness.bench.kept import actors
from harness.bench.load import Load, measure_load
from harness.bench.pretend import PretendedExecutor, pretended_plan, pretended_png
from harness.engine.launch import Execution, work
from harness.engine.progress import Progress
from harness.engine.worker import Setup
from harness.log import store
from harness.log.images import decode
from harness.log.run_folder import RunFolder
from harness.log.store import LogWriter
from harness.plan import Ask, plan
from harness.records import Role
from strategies.best_of_n import BestOfN
from strategies.reflect import Reflect
from tests.terminal import Terminal
from tests.tiny import make_tiny_reflect_suite, make_tiny_suite


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_suite(tmp_path_factory.mktemp("bench"))


def test_all_sides_make_the_same_draws(suite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.models.sana import SanaGenerator

    seen: list[list[int]] = []
    noise = SanaGenerator.noise

    def spy(self: SanaGenerator, seeds: list[int], settings: object) -> object:
        seen.append(list(seeds))
        return noise(self, seeds, settings)  # type: ignore[arg-type]

    monkeypatch.setattr(SanaGenerator, "noise", spy)
    ready = plan(Ask(model=str(suite), limit=3, budget=2, threads=1, batch_size=4))
    found = measure(ready, rounds=1, device="cpu", with_ray=False)
    assert found.ray is None
    for side in (found.bare, found.inline, found.single, found.judged):
        assert side.images == 6 and len(side.seconds) == 1
        assert 0 < side.models[0] <= side.seconds[0]
    alone = [rows[0] for rows in seen if len(rows) == 1]
    batched = {seed for rows in seen if len(rows) == 4 for seed in rows}
    # Two rounds (one to warm up); every draw alone once a round, and the same ones in batches.
    assert len(alone) == 12 and set(alone) == batched and len(batched) == 6


def test_the_actor_is_held_to_a_bare_loop_of_its_own(tmp_path: Path) -> None:
    ready = plan(Ask(model=str(make_tiny_reflect_suite(tmp_path)), limit=2, budget=2, threads=1))
    found = measure(ready, rounds=1, device="cpu")
    assert found.ray is not None and found.bare_ray is not None
    assert found.bare_ray.images == found.ray.images == 4
    assert 0 < found.ray.inside < 1


def test_a_loop_runs_inside_the_actor_with_its_model(suite: Path) -> None:
    ready = plan(Ask(model=str(suite), limit=1, budget=1, threads=1))
    with actors(Setup(ready.config, ready.paths), {Role.GENERATOR: 1}) as one:
        where, model = one.inside(lambda actor: (os.getpid(), type(actor.worker.model).__name__))
    assert where != os.getpid() and model == "SanaGenerator"


def test_ratios_are_medians_over_rounds() -> None:
    one = Side((1.0, 4.0, 2.0), (0.5, 1.0, 1.5), 10)
    other = Side((2.0, 2.0, 6.0), (1.0, 1.0, 1.0), 10)
    assert one.per_second == 5.0 and (one.model_ms, one.other_ms) == (100.0, 50.0)
    assert one.ratio(other) == 2.0  # of 2, 0.5 and 3
    assert one.inside == 0.5  # of 0.5, 0.25 and 0.75


def test_bench_engine(harness: Terminal, suite: Path) -> None:
    command = ["bench", "engine", "--model", suite, "--prompts", 2, "--budget", 2, "--rounds", 1,
               "--threads", 1, "--candidates", 40, "--no-ray"]  # fmt: skip
    assert harness(*command) == 0
    assert len(re.findall(r"[\d.]+ images/s", harness.out)) == 4
    assert re.search(r"\d+ candidates/s drawn one by one", harness.out)
    assert re.search(r"\d+ rows/s, \d+ bytes a row", harness.out)


def test_memory_is_linear_in_open_searches() -> None:
    few, many = open_bytes(50), open_bytes(400)
    assert few > 0 and many / 400 == pytest.approx(few / 50, rel=0.25)


def test_rates_are_counted() -> None:
    assert searches_per_second(Reflect(), 100) > 0
    rows, size = log_speed(600)
    assert rows > 0 and 20 < size < 2000


@pytest.mark.parametrize("strategy", [BestOfN(), Reflect()])
def test_a_pretended_run_is_a_run(strategy: BestOfN | Reflect, tmp_path: Path) -> None:
    ready = pretended_plan(strategy, prompts=9, budget=5, batch_size=4)
    folder, executor = RunFolder(tmp_path / "run"), PretendedExecutor(dict.fromkeys(Role, 0.0))
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


def test_a_long_run_stops_and_resumes_with_every_row(tmp_path: Path) -> None:
    found = traced_load(tmp_path / "run", candidates=3000)
    assert found.candidates == 3000
    assert found.shards[0] > 2 and found.shards[1] == 2
    assert found.resume_seconds > 0
    assert found.early_bytes <= found.late_bytes <= found.peak_bytes
    assert found.late_bytes - found.early_bytes < FLAT


@pytest.mark.parametrize("what", ["rows", "images"])
def test_rows_or_images_that_were_kept_would_show(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[object] = []
    if what == "rows":
        append = LogWriter.append
        monkeypatch.setattr(
            LogWriter, "append", lambda log, *row: (kept.append(row), append(log, *row))[1]
        )
    else:
        monkeypatch.setattr(
            "harness.bench.pretend.pretended_png",
            lambda name: kept.append(made := pretended_png(name)) or made,
        )
    found = traced_load(tmp_path / "run", candidates=3000)
    assert found.late_bytes - found.early_bytes > FLAT + MEGA


def test_a_slow_scorer_does_not_fill_the_memory(tmp_path: Path) -> None:
    # Were nobody held back, most of 20 MB of images would wait for it at once.
    found = traced_load(tmp_path / "run", candidates=1000, workers=1, scorer_latency=0.04)
    assert found.candidates == 1000
    assert found.late_bytes - found.start_bytes < FLAT + 3 * MEGA


def test_pretended_images_are_images_and_differ() -> None:
    one, other = pretended_png("a" * 32), pretended_png("b" * 32)
    assert one != other and 20_000 <= len(one) < 21_000
    assert decode(one).shape == (8, 8, 3)


def test_bench_load(harness: Terminal) -> None:
    command = ["bench", "load", "--candidates", 400, "--latency", 0, "--scorer-latency", 0.001]
    assert harness(*command) == 0
    assert "400 candidates in" in harness.out and "merged into 2" in harness.out
