"""Batch sizes by measurement: chosen with reason, recorded, fixed for the run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.engine import calibration, devices
from harness.engine.calibration import (
    Calibration,
    Probe,
    Size,
    calibrate,
    choose,
    measure_sizes,
    quickest,
)
from harness.engine.ladder import Round
from harness.engine.launch import Execution
from harness.errors import HarnessError
from harness.log.manifest import Manifest
from tests.runs import stub_plan
from tests.stubs import make_stub_suite
from tests.terminal import Terminal


class Device(Probe):
    """A pretended one: so long for a batch, so much memory, an error beyond."""

    def __init__(self, seconds: Callable[[int], float], fits: int = 64) -> None:
        generator = SimpleNamespace(settings={})
        config: Any = SimpleNamespace(device="cpu", config=SimpleNamespace(generator=generator))
        super().__init__(config, 0, 1.0)
        self.seconds, self.fits = seconds, fits
        self.now, self.size, self.tried = 0.0, 0, list[int]()

    def _generator(self, size: int) -> Any:
        self.size = size
        self.tried.append(size)
        return SimpleNamespace(generate=self.generate)

    def generate(self, batch: list[Any]) -> None:
        if len(batch) > self.fits:
            raise RuntimeError("CUDA out of memory. Tried to allocate 3 GiB")
        self.now += self.seconds(len(batch))

    def calibrated(self, limit: float = float("inf")) -> Calibration:
        self._limit = limit
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(calibration, "memory_held", lambda device: self.size * 100)
            patched.setattr(calibration.time, "perf_counter", lambda: self.now)
            return measure_sizes(self.measure)


def test_the_smallest_size_close_to_the_best_is_chosen() -> None:
    assert choose([Size(1, 2.0, 0), Size(2, 3.9, 0), Size(4, 4.0, 0)]) == 2
    assert choose([Size(1, 2.0, 0), Size(2, 3.0, 0), Size(4, 4.0, 0)]) == 4


def test_a_size_that_stays_half_empty_is_not_chosen() -> None:
    sizes = [Size(1, 1.0, 0), Size(4, 2.0, 0), Size(16, 3.0, 0)]
    many, few = [Round(1600, 1)] * 3, [Round(3, 1)] * 20
    assert choose(sizes) == quickest(many, True, sizes) == quickest(many, False, sizes) == 16
    assert quickest(few, False, sizes) == 4, "twenty batches, in which three rows are asked for"
    assert quickest([Round(1, 1)] * 20, True, sizes) == 1
    early = [Round(64, 1), *[Round(1, 1)] * 20]
    assert quickest(early, True, sizes) == 16, "the ladder leads down from there"
    assert quickest(early, False, sizes) == 4


def test_auto_counts_what_the_strategy_will_ask_for(tmp_path: Path) -> None:
    ready = stub_plan(make_stub_suite(tmp_path)[0], budget=1)
    chosen = calibrate(replace(ready, prompts=ready.prompts[:1]), Execution(executor="inline"))
    assert chosen.batch_size == 1, "nobody asks for a second image"


def test_sizes_are_tried_until_nothing_is_gained() -> None:
    device = Device(lambda rows: max(rows, 4) / 8)  # a batch of four is as quick as one
    measured = device.calibrated()
    assert measured.batch_size == 4 and measured.stopped == "larger batches gained next to nothing"
    assert [size.images_per_second for size in measured.sizes] == [2.0, 4.0, 8.0, 8.0, 8.0]
    assert device.tried == [1, 2, 4, 8, 16]


def test_sizes_end_where_memory_does() -> None:
    measured = Device(lambda rows: 1.0, fits=8).calibrated()
    assert measured.batch_size == 8 and "16 does not fit" in measured.stopped
    measured = Device(lambda rows: 1.0).calibrated(limit=450)
    assert measured.batch_size == 4 and "8 holds more memory" in measured.stopped
    with pytest.raises(HarnessError, match="a batch of 1 does not fit"):
        Device(lambda rows: 1.0, fits=0).calibrated()


def test_other_errors_are_no_matter_of_memory() -> None:
    def fail(rows: int) -> float:
        raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        Device(fail).calibrated()


def test_a_worker_that_was_lost_keeps_the_sizes_that_it_measured() -> None:
    lost = "the worker that tried a batch of 4 was lost"
    measured = measure_sizes(lambda size: lost if size == 4 else Size(size, float(size), 1))
    assert [size.batch_size for size in measured.sizes] == [1, 2]
    assert measured.batch_size == 2 and measured.stopped == lost
    with pytest.raises(HarnessError, match="cannot be calibrated: gone") as caught:
        measure_sizes(lambda size: "gone")
    assert "--batch-size" in caught.value.hint


def test_on_a_cpu_the_free_memory_is_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = SimpleNamespace(available=300 * 1024)
    monkeypatch.setattr(devices.psutil, "virtual_memory", lambda: machine)
    monkeypatch.setattr(devices, "CGROUP", tmp_path)
    assert devices.available_memory() == 300 * 1024, "no control groups here"
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("5000\n")
    assert devices.available_memory() == 300 * 1024
    (tmp_path / "memory.max").write_text("9000\n")
    assert devices.available_memory() == 4000
    held = devices.memory_held("cpu")
    assert held + 2000 <= devices.memory_limit("cpu", 0.5) < held + 2**30


def test_a_real_plan_that_has_no_memory_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "available_memory", lambda: -(2.0**40))
    ready = stub_plan(make_stub_suite(tmp_path)[0])
    with pytest.raises(HarnessError, match="a batch of 1 holds more memory"):
        calibrate(ready, Execution(executor="inline"))


def test_a_real_plan_is_measured_where_it_runs(tmp_path: Path) -> None:
    ready = stub_plan(make_stub_suite(tmp_path)[0])
    measured = calibrate(ready, Execution(executor="inline"))
    assert measured.batch_size in {size.batch_size for size in measured.sizes}
    assert all(size.images_per_second > 0 and size.memory_bytes > 0 for size in measured.sizes)


def test_auto_is_measured_once_recorded_and_kept(
    harness: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite, _ = make_stub_suite(tmp_path)
    base = ["run", "--model", suite, "--benchmark", "tests.stubs:StubBenchmark", "--threads", 1,
            "--budget", 2, "--batch-size", "auto", "--executor", "inline"]  # fmt: skip
    chosen = iter([2, 8])

    def pretend(plan: Any, execution: Any, *, is_laddered: bool) -> Calibration:
        size = next(chosen)
        return Calibration(size, (Size(size, 1.0, 1),), "enough")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(calibration, "calibrate", pretend)
    assert harness(*base) == 0 and "batch size: 2 (enough)" in harness.err
    (path,) = (tmp_path / "results").glob("*/manifest.json")
    manifest = Manifest.read(path)
    assert manifest.config["generator"]["batch_size"] == 2
    assert manifest.sessions[0]["calibration"]["sizes"][0]["batch_size"] == 2

    # The same command finds its run, although a new measurement would choose otherwise.
    assert harness(*base) == 0
    assert "batch size: 2, as this run was begun with" in harness.err
    assert "already finished" in harness.err
    assert harness("resume", path.parent) == 0
    assert len(list((tmp_path / "results").glob("*/manifest.json"))) == 1

    # Another run is measured anew; a number is taken as it is.
    assert harness(*base, "--out", "other") == 0 and "batch size: 8 (enough)" in harness.err
    assert harness(*base, "--out", "other") == 0 and "batch size: 8, as" in harness.err
    assert harness(*base[:-3], "4", "--out", "third") == 0 and "batch size" not in harness.err
    assert harness(*base[:-3], "0", "--out", "fourth") == 2
