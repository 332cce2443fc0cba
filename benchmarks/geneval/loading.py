"""From checkpoints and settings to a scorer that has passed its self-test."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.base import GradingPasses
from benchmarks.geneval.colors import ClipColorClassifier, load_colors
from benchmarks.geneval.detectors.probe import tolerance_of
from benchmarks.geneval.detectors.registry import factory_of, load_detector
from benchmarks.geneval.scorer import GenEvalScorer
from benchmarks.geneval.self_test import SelfTest, check_known_images, compare
from benchmarks.geneval.settings import DEFAULT_BACKEND, Options, check_parts
from harness import options
from harness.records import Loading, Prompt


def load_scorer(loading: Loading) -> GenEvalScorer:
    """Load the detector and the colour classifier on a device.

    Args:
        loading: The checkpoints are `PARTS`; the settings fields of `Options`, by name.

    Raises:
        UsageError: A setting is unknown or its value is no good.
        HarnessError: A checkpoint is missing or not what it should be, images with known
            answers beside one are judged wrongly, or the networks answer a fixed question on
            this device otherwise than on the CPU.
    """
    return _tested(loading, compared=not loading.device.startswith("cpu"))[0]


def self_test(loading: Loading) -> SelfTest:
    """Load a scorer as `load_scorer` does and make all checks, whatever the device.

    Raises:
        HarnessError: They answer differently, or a checkpoint is not what it should be.
    """
    return _tested(loading, compared=True)[1]


def grading_passes(loading: Loading, height: int, width: int) -> GradingPasses | None:
    """Build both networks from configuration files (see `Benchmark.grading_passes`)."""
    folder = loading.checkpoints["detector"]
    kind = factory_of(folder, str(loading.settings.get("backend", DEFAULT_BACKEND)))
    image = kind.forward_pass(folder, height, width)
    if image is None:
        return None
    color = ClipColorClassifier.forward_pass(loading.checkpoints["colors"])

    def asks_color(prompt: Prompt) -> bool:
        return any("color" in entry for entry in prompt.metadata.get("include", ()))

    return GradingPasses(image, color, asks_color)


def _tested(loading: Loading, *, compared: bool) -> tuple[GenEvalScorer, SelfTest]:
    chosen = options.build(Options, loading.settings, flag="scorer setting")
    check_parts(loading.checkpoints)
    scorer = _assemble(loading, chosen)
    test = SelfTest(check_known_images(scorer, loading.checkpoints))
    if compared:
        reference = _assemble(replace(loading, device="cpu", dtype="float32", batch_size=1), chosen)
        distances = compare(scorer, reference, tolerance_of(loading.dtype))
        test = replace(test, distances=distances)
    return scorer, test


def _assemble(loading: Loading, chosen: Options) -> GenEvalScorer:
    own = {} if chosen.resize is None else {"resize": chosen.resize}
    detector = load_detector(replace(loading, settings=own), chosen.backend)
    colors = load_colors(
        loading.checkpoints["colors"], loading.device, loading.dtype, loading.batch_size
    )
    return GenEvalScorer(detector, colors, max_overlap=chosen.max_overlap)
