"""A small dense detector, for worlds small enough that one can be trained on a laptop.

Each cell of a grid says whether an object's centre lies in it, which class it is and where the
object's box ends; a finer map says which pixels are foreground. An object's mask is the foreground
within its box. After "Objects as Points" (arXiv 1904.07850), with the distances to the four sides
that FCOS regresses (arXiv 1904.01355) in place of size and offset.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.geneval.detectors.base import SCORE_FLOOR, Detections

STRIDE = 4
"""Pixels from one cell of the grid to the next."""
REACH = 16.0
"""Pixels that one unit of a predicted distance stands for."""


@dataclass(frozen=True)
class Thresholds:
    """The limits that turn the network's maps into detections.

    Attributes:
        score: Detections below it are not reported.
        overlap: Intersection over union with a better box from which a centre is a second find of
            the same object.
        foreground: Probability from which a pixel belongs to an object.
        centre_temperature: Divides the centres' logits.
        class_temperature: Divides the classes' logits.
        centres: The most centres looked at in an image.
        classes: The most classes reported for a centre.
    """

    score: float = SCORE_FLOOR
    overlap: float = 0.5
    foreground: float = 0.5
    centre_temperature: float = 1.0
    class_temperature: float = 1.0
    centres: int = 24
    classes: int = 2


@dataclass(frozen=True)
class CenterNetConfig:
    """The content of a checkpoint's ``config.json``.

    Attributes:
        classes: Class names, in the order of the class channels.
        widths: Channels at half, a quarter and an eighth of the resolution.
        image_size: Side of the square images it was trained on, in pixels.
        thresholds: What turns maps into detections.
    """

    classes: tuple[str, ...]
    widths: tuple[int, int, int]
    image_size: int = 64
    thresholds: Thresholds = Thresholds()


@dataclass(frozen=True)
class Maps:
    """The network's answer for a batch; h and w are a quarter of the image's.

    Attributes:
        centres: Logits, (n, h, w).
        classes: Logits, (n, classes, h, w).
        sides: Distances to left, top, right and bottom from the cell's middle, (n, 4, h, w), in
            units of ``REACH`` pixels.
        foreground: Logits, (n, 4h, 4w).
    """

    centres: Tensor
    classes: Tensor
    sides: Tensor
    foreground: Tensor


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.norm1(self.conv1(x)))
        return functional.relu(x + self.norm2(self.conv2(y)))


def _step(width_in: int, width_out: int, kernel: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width_in, width_out, kernel, stride, padding=(kernel - 1) // 2, bias=False),
        nn.BatchNorm2d(width_out),
        nn.ReLU(),
    )


class CenterNet(nn.Module):
    """The network: three levels down, one up, four heads."""

    def __init__(self, config: CenterNetConfig) -> None:
        """Build it with fresh weights."""
        super().__init__()
        fine, middle, coarse = config.widths
        self.stem = nn.Sequential(_step(3, fine, 4, 2), _Block(fine))
        self.down = nn.Sequential(_step(fine, middle, 4, 2), _Block(middle), _Block(middle))
        self.deep = nn.Sequential(_step(middle, coarse, 4, 2), _Block(coarse), _Block(coarse))
        self.lift = nn.Conv2d(coarse, middle, 1)
        self.join = nn.Sequential(_step(middle, middle, 3, 1), _Block(middle))
        centre = nn.Conv2d(fine, 1, 1)
        # Nearly all cells are empty; starting from that belief saves the first steps.
        nn.init.constant_(cast(Tensor, centre.bias), -4.0)
        self.centres = nn.Sequential(_step(middle, fine, 3, 1), centre)
        self.classes = nn.Sequential(
            _step(middle, middle, 3, 1), nn.Conv2d(middle, len(config.classes), 1)
        )
        self.sides = nn.Sequential(_step(middle, fine, 3, 1), nn.Conv2d(fine, 4, 1))
        self.raise_mask = nn.Conv2d(middle, fine, 1)
        self.foreground = nn.Sequential(_step(fine, fine, 3, 1), nn.Conv2d(fine, 4, 1))

    def forward(self, pixels: Tensor) -> Maps:
        """Look at images in -1 to 1, (n, 3, height, width), sides divisible by 8."""
        fine = self.stem(pixels)
        middle = self.down(fine)
        lifted = functional.interpolate(self.lift(self.deep(middle)), scale_factor=2.0)
        middle = self.join(middle + lifted)
        raised = functional.interpolate(self.raise_mask(middle), scale_factor=2.0)
        foreground = functional.pixel_shuffle(self.foreground(fine + raised), 2)
        return Maps(
            self.centres(middle)[:, 0], self.classes(middle), self.sides(middle), foreground[:, 0]
        )


def cell_middles(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The x (1, width) and y (height, 1) of the grid cells' middles, in pixels."""
    xs = (torch.arange(width, device=device) + 0.5) * STRIDE
    ys = (torch.arange(height, device=device) + 0.5) * STRIDE
    return xs[None], ys[:, None]


def decode(maps: Maps, config: CenterNetConfig) -> list[Detections]:
    """Read the detections off the network's maps."""
    limits = config.thresholds
    confidence = (maps.centres.float() / limits.centre_temperature).sigmoid()
    peak = functional.max_pool2d(confidence[:, None], 3, 1, 1)[:, 0] == confidence
    xs, ys = cell_middles(confidence.shape[1], confidence.shape[2], confidence.device)
    left, top, right, bottom = (maps.sides.float() * REACH).unbind(1)
    boxes = torch.stack([xs - left, ys - top, xs + right, ys + bottom], dim=-1)
    boxes = boxes.clamp(min=0)
    boxes = torch.minimum(boxes, boxes.new_tensor([xs.shape[1], ys.shape[0]] * 2) * STRIDE)
    classes = (maps.classes.float() / limits.class_temperature).softmax(1)
    best, which = classes.topk(min(limits.classes, classes.shape[1]), dim=1)
    foreground = maps.foreground.float().sigmoid() > limits.foreground
    confidence = (confidence * peak).flatten(1)
    scores, cells = confidence.topk(min(limits.centres, confidence.shape[1]), dim=1)
    return [
        _read(
            scores[row].numpy(force=True),
            boxes[row].flatten(0, 1)[cells[row]].numpy(force=True),
            best[row].flatten(1).T[cells[row]].numpy(force=True),
            which[row].flatten(1).T[cells[row]].numpy(force=True),
            foreground[row].numpy(force=True),
            config,
        )
        for row in range(len(confidence))
    ]


def _read(
    confidence: npt.NDArray[np.float32],
    boxes: npt.NDArray[np.float32],
    best: npt.NDArray[np.float32],
    which: npt.NDArray[np.int64],
    foreground: npt.NDArray[np.bool_],
    config: CenterNetConfig,
) -> Detections:
    """The detections of one image from its centres, best first; shapes (k,), (k, 4), (k, c)."""
    limits = config.thresholds
    accepted: list[int] = []
    results: list[tuple[float, int, int]] = []
    for centre in range(len(confidence)):
        if confidence[centre] < limits.score:
            break
        if any(_overlap(boxes[centre], boxes[other]) > limits.overlap for other in accepted):
            continue
        accepted.append(centre)
        for probability, number in zip(best[centre], which[centre], strict=True):
            score = float(confidence[centre] * probability)
            if score >= limits.score:
                results.append((score, centre, int(number)))
    results.sort(key=lambda entry: -entry[0])
    centres = [centre for _, centre, _ in results]
    masks = np.zeros((len(results), *foreground.shape), bool)
    for index, centre in enumerate(centres):
        x0, y0, x1, y1 = np.rint(boxes[centre]).astype(int)
        masks[index, y0:y1, x0:x1] = foreground[y0:y1, x0:x1]
    return Detections(
        labels=tuple(config.classes[number] for _, _, number in results),
        scores=np.array([score for score, _, _ in results], np.float32),
        boxes=boxes[centres].astype(np.float32).reshape(-1, 4),
        masks=masks,
    )


def _overlap(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    """Intersection over union of two boxes."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    shared = float(np.prod(np.maximum(sides, 0)))
    whole = float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - shared
    return shared / whole if whole > 0 else 0.0
