"""`doctor` as a person meets it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from benchmarks.geneval import loading
from benchmarks.geneval.detectors.mmdet import original
from benchmarks.geneval.self_test import SelfTest
from harness import doctor
from harness.engine import devices
from harness.errors import HarnessError
from harness.models.checkpoints import BUNDLED
from harness.records import Loading
from tests.terminal import Terminal


def test_doctor(harness: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    assert harness("doctor", "--device", "cpu") == 0
    for piece in ("python", "processor", "GiB free", "torch", "ok      ray"):
        assert piece in harness.out
    assert "ok      miniature: scorer on cpu: float32, batches of 8: detector off by" in harness.out
    assert "ok      miniature: judge on cpu: float32, batches of 8: detector off by" in harness.out
    assert "ok      miniature: checkpoints: all here; found: " in harness.out
    assert str(BUNDLED / "detector") in harness.out
    assert "mmdet: " in harness.out
    assert "18 known answers right" in harness.out
    assert "missing: generator pipeline (Efficient-Large-Model/" in harness.out

    def wrong(*_: object) -> None:
        raise HarnessError("the detector answers otherwise", "try another build")

    monkeypatch.setattr(loading, "self_test", wrong)
    assert harness("doctor", "--device", "cpu") == 1
    assert "FAILED  miniature: scorer on cpu: the detector answers otherwise" in harness.out
    assert "hint: try another build" in harness.out


@pytest.mark.parametrize(
    ("cpuinfo", "says"),
    [
        ("model name\t: AMD EPYC\nflags\t\t: fpu avx512f avx512_bf16 amx_bf16\n",
         "native on this processor (AMX, AVX-512 BF16)"),
        ("flags\t\t: fpu avx2 avx512_vnni\n", "not native on this processor"),
        ("Features\t: fp asimd bf16\n", "native on this processor (Arm BF16)"),
        ("nothing", "nobody knows"),
    ],
)  # fmt: skip
def test_native_bfloat16_is_what_the_processor_says(
    cpuinfo: str, says: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    monkeypatch.setattr(devices, "CPU_INFO", tmp_path / "cpuinfo")
    facts = dict(doctor.facts())
    assert facts["bfloat16"].startswith(says)
    assert "possible on cpu" in facts["compile"] or "cannot be compiled" in facts["compile"]


def test_every_gpu_is_asked(harness: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    asked = []

    def self_test(of: Loading) -> SelfTest:
        asked.append(of.device)
        if of.device == "cuda:1":
            raise HarnessError("the detector answers otherwise", "try another build")
        return SelfTest(0, {"detector": 0.001, "colors": 0.002})

    monkeypatch.setattr(loading, "self_test", self_test)
    monkeypatch.setattr(devices, "has_gpu", lambda address: True)
    monkeypatch.setattr(doctor, "_gpus", lambda: ["one, 10 of 20 GiB free", "two"])
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert harness("doctor") == 1
    assert set(asked) == {"cuda:0", "cuda:1"} and asked.count("cuda:0") == asked.count("cuda:1")
    assert "gpu 0      one, 10 of 20 GiB free" in harness.out and "gpu 1      two" in harness.out
    assert "ok      miniature: scorer on cuda:0: float32" in harness.out
    assert "FAILED  miniature: judge on cuda:1" in harness.out


def test_mmdet_that_does_not_work_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise HarnessError("mmdet is installed but cannot be imported", "again")

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(original, "import_mmdet", broken)
    assert doctor.check_mmdet().ok is False
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert doctor.check_mmdet().ok is None


def test_no_gpu(harness: Terminal) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one")
    assert harness("doctor", "--device", "cuda") == 2
    assert "no CUDA device" in harness.err
