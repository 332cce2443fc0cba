"""A detector's confidence in the objects that a prompt asks for: a metric with grades."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from benchmarks.base import Benchmark
from benchmarks.geneval.metadata import require_metadata, requirements
from benchmarks.geneval.rules import nth_best
from harness import options
from harness.models.devices import prepare
from harness.records import Cost, Loading, Look, Setting

if TYPE_CHECKING:
    from benchmarks.geneval.detectors.base import Detections, Detector


class ObjectConfidence:
    """The least confidence that GenEval's rules for objects and their number rest on.

    Of n objects of a class that are asked for it is the confidence of the n-th best of that class,
    of n that are too many 1 minus that, and the value is the least of these: 0 to 1, and 1 only
    where a detector is certain. Colours and places play no part. It is a metric of this project,
    not a published one; it says what its detector sees, and shares what that is blind to.

    Checkpoint: `detector`, of any kind that GenEval's scorer takes.
    """

    main_part: ClassVar[str] = "detector"
    checkpoints: ClassVar[Mapping[str, str]] = {"detector": "mask2former-swin-s-coco"}
    Settings: ClassVar[type] = options.NoSettings

    def __init__(self, detector: Detector) -> None:
        self.detector = detector

    @classmethod
    def check(
        cls, parts: Collection[str], settings: Mapping[str, Setting], benchmark: Benchmark
    ) -> None:
        """Refuse prompts that do not say in GenEval's form what they ask for.

        Raises:
            UsageError: They are another benchmark's.
        """
        hint = "it measures images for GenEval's prompts; leave it out"
        require_metadata(benchmark, "the metric 'object-confidence'", hint)

    @classmethod
    def load(cls, loading: Loading) -> ObjectConfidence:
        """Load the detector (see `harness.models.base.MetricFactory`)."""
        options.build(cls.Settings, loading.settings, flag="metric setting")
        from benchmarks.geneval.detectors.registry import load_detector

        prepare(loading.device)
        return cls(load_detector(loading))

    def measure(self, looks: Sequence[Look]) -> list[tuple[float, Cost]]:
        """Measure each image (see `harness.models.base.Metric`)."""
        asked = [requirements(look.prompt.metadata) for look in looks]
        detections = self.detector.detect([look.image for look in looks])
        return [
            (
                confidence(requirements, reported),
                Cost(flops=self.detector.flops(*look.image.shape[:2])),
            )
            for requirements, reported, look in zip(asked, detections, looks, strict=True)
        ]


def confidence(requirements: Mapping[str, Any], detections: Detections) -> float:
    """Return the least confidence that the rules for objects and their number rest on."""
    confidences = detections.confidences()
    there = [nth_best(item, confidences) for item in requirements["include"]]
    absent = [1.0 - nth_best(item, confidences) for item in requirements.get("exclude", ())]
    return min([*there, *absent])
