"""What a detector is to GenEval, and how one is loaded from a folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from harness.errors import HarnessError, UsageError
from harness.records import Image

Backend = Literal["transformers", "mmdet"]
"""Which library runs a Mask2Former: the same weights, and the same detections within rounding."""

MODEL_TYPES = ("mask2former", "centernet")
"""Values of `model_type` in a detector folder's config.json that can be loaded."""

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


def load_detector(
    folder: Path,
    device: str,
    dtype: str = "float32",
    batch_size: int = 1,
    backend: Backend = "transformers",
    **options: Any,
) -> Detector:
    """Load the kind of detector that a folder's config.json names.

    Args:
        folder: A checkpoint folder.
        device: A torch device.
        dtype: Number format of the network: "float32", "bfloat16" or "float16".
        batch_size: Images of the one batch shape it runs at.
        backend: What runs a Mask2Former; "mmdet" is the original (extra `mmdet`).
        options: Further options of that kind of detector.

    Raises:
        UsageError: An option means nothing to this kind of detector.
        HarnessError: The folder holds no detector that can be loaded.
    """
    kind = read_config(folder, f"one of {', '.join(MODEL_TYPES)}").get("model_type")
    if backend == "mmdet" and kind in MODEL_TYPES:
        if kind != "mask2former":
            raise UsageError(
                f"mmdet runs a mask2former detector, and {folder} holds a {kind} one",
                "name a converted one, --detector mmdet:FOLDER, or the suite of one with --model",
            )
        from benchmarks.geneval.mmdet_original import MmdetDetector

        return MmdetDetector.from_folder(
            folder, device=device, dtype=dtype, batch_size=batch_size, **options
        )
    if kind == "mask2former":
        from benchmarks.geneval.mask2former import Mask2FormerDetector

        return Mask2FormerDetector.from_folder(
            folder, device=device, dtype=dtype, batch_size=batch_size, **options
        )
    if kind == "centernet":
        if options:
            raise UsageError(
                f"the option '{next(iter(options))}' means nothing to a centernet detector",
                f"leave it out, or use a mask2former detector ({folder} holds a centernet one)",
            )
        from benchmarks.geneval.centernet import CenterNetDetector

        return CenterNetDetector.from_folder(
            folder, device=device, dtype=dtype, batch_size=batch_size
        )
    raise HarnessError(
        f"{folder / 'config.json'} has model_type {kind!r}, expected one of "
        f"{', '.join(MODEL_TYPES)}",
        "GenEval's official detector is an mmdet .pth file: make it a folder with "
        "`python -m harness convert-detector FILE.pth --out FOLDER`",
    )


def read_config(folder: Path, expected: str) -> dict[str, Any]:
    """Read a checkpoint folder's config.json.

    Args:
        folder: A checkpoint folder.
        expected: What it should hold, for messages.

    Raises:
        HarnessError: The folder or the file is missing, or the file is not a JSON object.
    """
    file = folder / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        what = "no such folder" if not folder.is_dir() else "no config.json in it"
        raise HarnessError(
            f"{folder} is not a checkpoint folder ({what}), expected {expected}",
            "check the path; a converted (`python -m harness convert-detector`) or downloaded "
            "folder holds config.json and model.safetensors",
        ) from None
    except (OSError, ValueError) as error:
        raise HarnessError(
            f"{file} cannot be read: {error}", "restore it from where the checkpoint came from"
        ) from None
    if not isinstance(config, dict):
        raise HarnessError(f"{file} is not a JSON object", "it should be a model's configuration")
    return config
