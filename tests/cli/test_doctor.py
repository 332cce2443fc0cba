"""`doctor` as a person meets it."""

from __future__ import annotations

import pytest

from benchmarks.geneval import scorer as scorers
from harness.errors import HarnessError
from tests.cli.test_cli import Terminal, harness
from tests.scoring.conftest import one_thread

__all__ = ["harness", "one_thread"]


def test_doctor(harness: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    assert harness("doctor", "--device", "cpu") == 0
    for piece in ("python", "processor", "GiB free", "torch", "ok      ray"):
        assert piece in harness.out
    assert "ok      miniature: scorer on cpu: float32, batches of 8: detector off by" in harness.out
    assert "18 known answers right" in harness.out
    assert "missing: generator pipeline (Efficient-Large-Model/" in harness.out

    def wrong(*_: object) -> None:
        raise HarnessError("the detector answers otherwise", "try another build")

    monkeypatch.setattr(scorers, "self_test", wrong)
    assert harness("doctor", "--device", "cpu") == 1
    assert "FAILED  miniature: scorer on cpu: the detector answers otherwise" in harness.out
    assert "hint: try another build" in harness.out


def test_no_gpu(harness: Terminal) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one")
    assert harness("doctor", "--device", "cuda") == 2
    assert "no CUDA device" in harness.err
