"""A device that answers wrongly is not worked on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.geneval import loading
from benchmarks.geneval.detectors.probe import tolerance_of
from benchmarks.geneval.loading import load_scorer, self_test
from benchmarks.geneval.self_test import compare
from benchmarks.geneval.settings import Options
from harness.errors import HarnessError
from harness.models.checkpoints import BUNDLED
from harness.records import Loading

BOTH = ["mask2former", "miniature"]


@pytest.fixture(params=BOTH)
def parts(request: pytest.FixtureRequest, tiny_suite: Path) -> dict[str, Path]:
    root = tiny_suite.parent / "tiny" if request.param == "mask2former" else BUNDLED
    return {name: root / name for name in ("detector", "colors")}


def test_float32_at_another_batch_shape_is_all_but_equal(parts: dict[str, Path]) -> None:
    distances = self_test(Loading(parts, batch_size=3)).distances
    assert distances.keys() == {"detector", "colors"}
    assert max(distances.values()) < 1e-4


def test_bfloat16_is_near_enough(parts: dict[str, Path]) -> None:
    distances = self_test(Loading(parts, dtype="bfloat16")).distances
    assert 1e-5 < max(distances.values()) < tolerance_of("bfloat16")


@pytest.mark.sampled(3)
@pytest.mark.parametrize("part", ["detector", "colors"])
@pytest.mark.parametrize("fault", ["zeros", "noise", "nan"])
def test_a_broken_kernel_is_refused(parts: dict[str, Path], part: str, fault: str) -> None:
    """As if one layer's results were zeros, noise or not numbers on this device."""
    reference, broken = load_scorer(Loading(parts)), load_scorer(Loading(parts))
    network: Any = broken.detector.network if part == "detector" else broken.classifier.model
    convolutions = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d)]

    def spoil(_module: Any, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
        if fault == "noise":
            return torch.randn_like(output) * output.std()
        return torch.full_like(output, 0.0 if fault == "zeros" else torch.nan)

    convolutions[0].register_forward_hook(spoil)
    text = f"the {part} answers a fixed question|output is not finite"
    with pytest.raises(HarnessError, match=text) as caught:
        compare(broken, reference, tolerance_of("float32"))
    assert "float32" in caught.value.hint


@pytest.mark.slow
def test_loading_onto_another_device_asks(
    parts: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    assemble = loading._assemble

    def elsewhere(of: Loading, chosen: Options) -> Any:
        asked.append((of.device, of.dtype, of.batch_size))
        return assemble(replace(of, device="cpu"), chosen)

    monkeypatch.setattr(loading, "_assemble", elsewhere)
    load_scorer(Loading(parts, device="cuda:0", dtype="float32", batch_size=2))
    assert asked == [("cuda:0", "float32", 2), ("cpu", "float32", 1)]
    asked.clear()
    load_scorer(Loading(parts, batch_size=2))
    assert asked == [("cpu", "float32", 2)]
