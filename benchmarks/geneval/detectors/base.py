"""The interface of GenEval's detectors, and of a kind of detector."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from harness.errors import BadAnswer, Failure
from harness.records import Image, Loading

if TYPE_CHECKING:
    from torch import Tensor

SCORE_FLOOR = 0.05
"""Detections that are not surer than this are not reported. The rules look at those above 0.3;
the rest is logged so that other thresholds can be tried later, without filling the log."""


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """The objects found in one image, best first.

    Attributes:
        labels: Class name of each object.
        scores: Confidence of each object, float32, shape (n,).
        boxes: x0, y0, x1, y1 in pixels of the image, float32, shape (n, 4).
        masks: Which pixels belong to each object, bool, shape (n, height, width).
    """

    labels: tuple[str, ...]
    scores: npt.NDArray[np.float32]
    boxes: npt.NDArray[np.float32]
    masks: npt.NDArray[np.bool_]

    def __post_init__(self) -> None:
        count = len(self.labels)
        shapes = self.scores.shape, self.boxes.shape, self.masks.shape[:1], self.masks.ndim
        if shapes != ((count,), (count, 4), (count,), 3):
            raise ValueError(
                f"{count} labels with scores {self.scores.shape}, boxes {self.boxes.shape} "
                f"and masks {self.masks.shape}"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def confidences(self) -> dict[str, list[float]]:
        """Return the scores of the objects of each class, best first."""
        by_class: dict[str, list[float]] = {}
        for label, score in zip(self.labels, self.scores.tolist(), strict=True):
            by_class.setdefault(label, []).append(score)
        return by_class


@runtime_checkable
class Detector(Protocol):
    """Finds objects of `benchmarks.geneval.classes.CLASSES`."""

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """Find the objects of each image.

        An image's detections depend on the image alone, bit for bit: not on its neighbours,
        its position or how many there are. Images may differ in size.
        """
        ...

    def flops(self, height: int, width: int) -> float:
        """FLOPs of detecting objects in one image of this size."""
        ...

    def probe(self, image: Image) -> Tensor:
        """Answer one image with the network's raw output, for comparison across devices.

        Runs at the detector's own number format and batch shape. Numbers that the detections
        depend on belong in it; those that training left undefined do not.

        Returns:
            Float32 on the CPU, of one shape for every device and number format.
        """
        ...


class DetectorFactory(Protocol):
    """A kind of detector: what the entry points of the group `harness.detectors` name."""

    options: ClassVar[frozenset[str]]
    """Names of the scorer's settings that it takes."""

    def load(self, loading: Loading) -> Detector:
        """Load a checkpoint folder (a classmethod of the detector).

        Args:
            loading: The checkpoint `detector` is a folder whose config.json names this kind as
                `model_type`; the settings are some of `options`, the number format is settled.

        Raises:
            harness.errors.UsageError: A setting's value is none that it could run at.
            harness.errors.HarnessError: The folder is incomplete or damaged.
        """
        ...

    def forward_pass(self, folder: Path, height: int, width: int) -> Callable[[], Any] | None:
        """Build the network from config.json alone, to count operations (a classmethod).

        The pass is one image's, of this size, with arbitrary weights. None: the kind cannot be
        built without its weights.
        """
        ...


def require_finite(what: str, where: str, *outputs: Tensor) -> None:
    """Refuse a network's output that is not finite, before NaN passes for an answer.

    Raises:
        BadAnswer: NaN or an infinity is among it.
    """
    if not all(bool(output.isfinite().all()) for output in outputs):
        raise BadAnswer(
            Failure.BAD_NUMBER,
            f"the {what}'s output is not finite ({where})",
            "try dtype float32; on a GPU, check that this build of torch supports it",
        )
