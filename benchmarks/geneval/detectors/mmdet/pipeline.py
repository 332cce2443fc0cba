"""The steps of mmdet on an image before Mask2Former and on the network's output after it.

GenEval's published scores were made with mmdet, and transformers' own image processor differs
from it where it counts: it resizes with antialiasing, scores a query once instead of once a
class, and draws boxes differently. These functions follow mmdet step by step.

Source: mmdet 2.x and 3.x, config `mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco` and
`MaskFormerFusionHead.instance_postprocess` (github.com/open-mmlab/mmdetection).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.geneval.classes import CLASSES
from benchmarks.geneval.detectors.base import Detections
from harness.records import Image

Resize = Literal["uint8", "float32"]
"""Number format in which the image is resized: mmdet 2.x has uint8, which rounds to whole grey
levels (GenEval's official version), mmdet 3.x float32."""

MAX_DETECTIONS = 100
_MEAN = np.array([123.675, 116.28, 103.53], np.float32)
_STD = np.array([58.395, 57.12, 57.375], np.float32)
_PAD_TO = 32
_MASKS_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Frame:
    """The frame that an image is fitted into, keeping its proportions: long side by short side.

    mmdet calls it the test scale; whichever way the image lies, the frame lies too.
    """

    long: int = 1333
    short: int = 800

    def fit(self, height: int, width: int) -> tuple[int, int]:
        """Height and width after resizing."""
        scale = min(self.long / max(height, width), self.short / min(height, width))
        return int(height * scale + 0.5), int(width * scale + 0.5)

    def padded(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the network's input."""
        fitted_height, fitted_width = self.fit(height, width)
        return _round_up(fitted_height), _round_up(fitted_width)


def preprocess(image: Image, frame: Frame, resize: Resize) -> npt.NDArray[np.float32]:
    """Fit an image into the frame, normalise it, pad it with zeros on the right and below.

    Returns:
        Network input, shape (3, padded height, padded width).
    """
    height, width = frame.fit(*image.shape[:2])
    source = image if resize == "uint8" else image.astype(np.float32)
    resized = cv2.resize(source, (width, height), interpolation=cv2.INTER_LINEAR)
    normalised = (resized.astype(np.float32) - _MEAN) / _STD
    padded = np.zeros((_round_up(height), _round_up(width), 3), np.float32)
    padded[:height, :width] = normalised
    return padded.transpose(2, 0, 1)


def postprocess(
    class_logits: Tensor,
    mask_logits: Tensor,
    *,
    image_size: tuple[int, int],
    frame: Frame,
    floor: float,
) -> Detections:
    """Turn the network's output for one image into detections.

    Args:
        class_logits: Float32, shape (queries, classes + 1); the last class means "no object".
        mask_logits: Float32, shape (queries, height, width) at a quarter of the input's size.
        image_size: Height and width of the original image.
        frame: The frame the image was fitted into.
        floor: Detections with a score at or below it are left out.

    Returns:
        Detections in the original image's pixels, best first.
    """
    probabilities = class_logits.softmax(dim=-1)[:, :-1]
    classes = probabilities.shape[1]
    count = min(MAX_DETECTIONS, probabilities.numel())
    scores, pairs = probabilities.flatten().topk(count)
    # A score only shrinks from here, so what is below the floor already needs no mask.
    above = scores > floor
    scores, pairs = scores[above], pairs[above]
    # A query can stand for several classes, but has one mask.
    queries, mask_of = torch.unique(pairs // classes, return_inverse=True)
    masks, qualities = _masks(mask_logits[queries], image_size, frame)
    scores = scores * qualities[mask_of]
    order = torch.sort(scores, descending=True, stable=True).indices
    order = order[scores[order] > floor]
    pairs, mask_of = pairs[order], mask_of[order]
    chosen = masks[mask_of.cpu().numpy()]
    return Detections(
        labels=tuple(CLASSES[index] for index in (pairs % classes).tolist()),
        scores=scores[order].cpu().numpy(),
        boxes=np.stack([_box(mask) for mask in chosen]) if len(chosen) else _NO_BOXES,
        masks=chosen,
    )


_NO_BOXES = np.zeros((0, 4), np.float32)


def _masks(
    logits: Tensor, image_size: tuple[int, int], frame: Frame
) -> tuple[npt.NDArray[np.bool_], Tensor]:
    """Masks at the original size, and the mean probability inside each.

    In small chunks: at full size all queries of one image would take gigabytes.
    """
    height, width = frame.fit(*image_size)
    masks = np.zeros((len(logits), *image_size), np.bool_)
    qualities = []
    for start in range(0, len(logits), _MASKS_AT_ONCE):
        chunk = logits[start : start + _MASKS_AT_ONCE, None]
        chunk = _interpolate(chunk, frame.padded(*image_size))[..., :height, :width]
        chunk = _interpolate(chunk, image_size)[:, 0]
        inside = chunk > 0
        masks[start : start + len(chunk)] = inside.cpu().numpy()
        weights = inside.float()
        total = (chunk.sigmoid() * weights).flatten(1).sum(dim=1)
        qualities.append(total / (weights.flatten(1).sum(dim=1) + 1e-6))
    return masks, torch.cat(qualities) if qualities else logits.new_zeros(0)


def _interpolate(masks: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(masks, size=size, mode="bilinear", align_corners=False)


def _box(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """The box around a mask, its far edges exclusive; zeros around an empty one."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(columns):
        return np.zeros(4, np.float32)
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)


def _round_up(length: int) -> int:
    return -(-length // _PAD_TO) * _PAD_TO
