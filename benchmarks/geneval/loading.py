"""From checkpoints and settings to a scorer that has passed its self-test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.base import GradingPasses
from benchmarks.geneval.colors import ClipColorClassifier, load_colors
from benchmarks.geneval.detectors.probe import tolerance_of
from benchmarks.geneval.detectors.registry import DEFAULT_BACKEND, factory_of, load_detector
from benchmarks.geneval.scorer import GenEvalScorer
from benchmarks.geneval.self_test import SelfTest, check_known_images, compare
from benchmarks.geneval.settings import Options, check_parts
from harness import options
from harness.records import Prompt


def load_scorer(
    checkpoints: Mapping[str, Path], settings: Mapping[str, Any], device: str
) -> GenEvalScorer:
    """Load the detector and the colour classifier on a device.

    Args:
        checkpoints: Local folders of `PARTS`.
        settings: Fields of `Options`, by name.
        device: A torch device.

    Raises:
        UsageError: A setting is unknown or its value is no good.
        HarnessError: A checkpoint is missing or not what it should be, images with known
            answers beside one are judged wrongly, or the networks answer a fixed question on
            this device otherwise than on the CPU.
    """
    return _tested(checkpoints, settings, device, compared=not device.startswith("cpu"))[0]


def self_test(
    checkpoints: Mapping[str, Path], settings: Mapping[str, Any], device: str
) -> SelfTest:
    """Load a scorer and make all checks, whatever the device.

    Args: as `load_scorer`.

    Raises:
        HarnessError: They answer differently, or a checkpoint is not what it should be.
    """
    return _tested(checkpoints, settings, device, compared=True)[1]


def grading_passes(
    checkpoints: Mapping[str, Path], settings: Mapping[str, Any], height: int, width: int
) -> GradingPasses | None:
    """Build what grading one image takes from configuration files (see `Benchmark.grading_passes`).

    Args: as there.

    Raises:
        HarnessError: A checkpoint is not what it should be.
    """
    folder = Path(checkpoints["detector"])
    kind = factory_of(folder, str(settings.get("backend", DEFAULT_BACKEND)))
    image = kind.forward_pass(folder, height, width)
    if image is None:
        return None
    color = ClipColorClassifier.forward_pass(Path(checkpoints["colors"]))
    return GradingPasses(image, color, _asks_color)


def _asks_color(prompt: Prompt) -> bool:
    return any("color" in wanted for wanted in prompt.metadata.get("include", ()))


def _tested(
    checkpoints: Mapping[str, Path], settings: Mapping[str, Any], device: str, *, compared: bool
) -> tuple[GenEvalScorer, SelfTest]:
    chosen = options.build(Options, settings, flag="scorer setting")
    check_parts(checkpoints)
    scorer = _assemble(checkpoints, chosen, device)
    test = SelfTest(check_known_images(scorer, checkpoints))
    if compared:
        reference = _assemble(checkpoints, replace(chosen, dtype="float32", batch_size=1), "cpu")
        distances = compare(scorer, reference, tolerance_of(chosen.dtype))
        test = replace(test, distances=distances)
    return scorer, test


def _assemble(checkpoints: Mapping[str, Path], chosen: Options, device: str) -> GenEvalScorer:
    own = {} if chosen.resize is None else {"resize": chosen.resize}
    detector = load_detector(
        Path(checkpoints["detector"]),
        device,
        chosen.dtype,
        chosen.batch_size,
        chosen.backend,
        **own,
    )
    return GenEvalScorer(
        detector,
        load_colors(Path(checkpoints["colors"]), device, chosen.dtype, chosen.batch_size),
        max_overlap=chosen.max_overlap,
    )
