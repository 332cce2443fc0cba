"""GenEval's scorer: detect the objects, look at their colours, hold both against the prompt.

`examine` does the work and keeps everything that was seen; the score is the part of it that the
benchmark reports. A judge that wants to know what is wrong uses `examine` too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.geneval import rules
from benchmarks.geneval.colors import ClipColorClassifier, Crop
from benchmarks.geneval.detectors.base import Detections, Detector
from benchmarks.geneval.metadata import BadMetadata, requirements
from benchmarks.geneval.rules import Judgement, ObjectIndices
from harness.errors import HarnessError
from harness.records import Cost, Detection, Image, Prompt, Score


@dataclass(frozen=True, slots=True)
class Examination:
    """Everything that was seen in one image.

    Attributes:
        detections: What the detector reported, best first.
        objects: The detections that count as objects, by class, best first.
        colors: Colour of each detection that was asked for, by its index.
        outcome: What the rules say, with every failure.
        cost: FLOPs of looking.
    """

    detections: Detections
    objects: ObjectIndices
    colors: Mapping[int, str]
    outcome: Judgement
    cost: Cost

    def score(self) -> Score:
        """The benchmark's verdict, with every detection as it is logged."""
        detections = self.detections
        logged = (
            Detection(label, _box(box), float(score), self.colors.get(index))
            for index, (label, box, score) in enumerate(
                zip(detections.labels, detections.boxes, detections.scores, strict=True)
            )
        )
        return Score.of(self.outcome.correct, self.outcome.reason, tuple(logged))


class GenEvalScorer:
    """Grades images for GenEval prompts.

    The classifier is asked only about objects that the prompt gives a colour; an object that
    overlaps a better one of its class by `max_overlap` (IoU) is dropped.
    """

    def __init__(
        self,
        detector: Detector,
        classifier: ClipColorClassifier,
        *,
        max_overlap: float = rules.MAX_OVERLAP,
    ) -> None:
        self.detector = detector
        self.classifier = classifier
        self.max_overlap = max_overlap

    def score(self, prompts: Sequence[Prompt], images: Sequence[Image]) -> list[tuple[Score, Cost]]:
        """Grade image i for prompt i, in order."""
        return [(seen.score(), seen.cost) for seen in self.examine(prompts, images)]

    def examine(self, prompts: Sequence[Prompt], images: Sequence[Image]) -> list[Examination]:
        """Look at image i with prompt i in mind, in order, in batches over all images.

        A row's result depends on its own prompt and image only.

        Raises:
            HarnessError: A prompt does not ask for objects, or not as GenEval's do.
        """
        if len(prompts) != len(images):
            raise ValueError(f"{len(prompts)} prompts for {len(images)} images")
        asked = [_requirements(prompt) for prompt in prompts]
        detections = self.detector.detect(images)
        objects = [
            rules.keep(
                seen.labels, seen.scores, seen.boxes, tag=prompt.tag, max_overlap=self.max_overlap
            )
            for prompt, seen in zip(prompts, detections, strict=True)
        ]
        colors = self._colors(asked, images, detections, objects)
        return [
            Examination(
                detections=detections[row],
                objects=objects[row],
                colors=colors[row],
                outcome=rules.judge(
                    asked[row], objects[row], detections[row].boxes, colors[row].__getitem__
                ),
                cost=self._cost(images[row], len(colors[row])),
            )
            for row in range(len(prompts))
        ]

    def _colors(
        self,
        asked: Sequence[Mapping[str, Any]],
        images: Sequence[Image],
        detections: Sequence[Detections],
        objects: Sequence[ObjectIndices],
    ) -> list[dict[int, str]]:
        """Colours the rules will ask for, of all images in one go."""
        needed = [
            (row, index)
            for row, requirements in enumerate(asked)
            for index in rules.colors_needed(requirements, objects[row])
        ]
        crops = [Crop.of(images[row], detections[row], index) for row, index in needed]
        colors: list[dict[int, str]] = [{} for _ in asked]
        for (row, index), color in zip(needed, self.classifier.classify(crops), strict=True):
            colors[row][index] = color
        return colors

    def _cost(self, image: Image, crops: int) -> Cost:
        looking = self.detector.flops(image.shape[0], image.shape[1])
        return Cost(flops=looking + (crops * self.classifier.flops_per_crop if crops else 0.0))


def _requirements(prompt: Prompt) -> Mapping[str, Any]:
    try:
        return requirements(prompt.metadata)
    except BadMetadata as error:
        raise HarnessError(
            f"prompt '{prompt.id}' cannot be scored: {error.message}",
            "GenEval's scorer grades GenEval's prompts only",
        ) from error


def _box(box: Any) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = (float(edge) for edge in box)
    return x0, y0, x1, y1
