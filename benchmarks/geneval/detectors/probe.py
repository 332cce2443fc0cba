"""One fixed picture, and how far apart two networks' answers to it may be.

A GPU that a build of torch has no kernels for, a wrong library version or a damaged file need
not raise anything: the run goes on and the scores are quietly low (github.com/djghosh13/geneval,
issues 15 and 21). So a network's answer is held against one that is known to be right: the one
that its converted folder stores, given on the CPU in float32, or (`benchmarks.geneval.self_test`)
the one that the same checkpoint gives on the CPU now.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.geneval.detectors.base import Detector
from harness.errors import HarnessError
from harness.models.loading import read_weights
from harness.records import Image

ANSWER_FILE = "known_answer.safetensors"

TOLERANCE = 0.02
"""Largest accepted distance between two answers, relative to the length of the right one."""
TOLERANCE_HALF = 0.3
"""The same for a network that runs in a 16-bit format. On the reference network bfloat16 moves
the class probabilities by 0.02, and a network that sees nothing is off by 1.1."""

_SIDE = 256


def tolerance_of(dtype: str) -> float:
    """Return the largest accepted distance for a number format."""
    return TOLERANCE if dtype == "float32" else TOLERANCE_HALF


def distance(answer: Tensor, expected: Tensor) -> float:
    """Return how far an answer is from the right one, relative to the latter's length.

    Infinite where they differ in shape; NaN where the answer is not a number, so compare with
    `not distance <= tolerance`.
    """
    if answer.shape != expected.shape:
        return float("inf")
    return float((answer - expected).norm() / expected.norm())


def write_answer(detector: Detector, folder: Path) -> None:
    """Store the picture and a detector's answer in its folder."""
    from safetensors.torch import save_file

    picture = fixed_picture()
    tensors = {"picture": torch.from_numpy(picture), "probabilities": detector.probe(picture)}
    save_file(tensors, folder / ANSWER_FILE)


def check_answer(detector: Detector, folder: Path, tolerance: float) -> None:
    """Hold a loaded detector against the answer in its folder, if there is one.

    Raises:
        HarnessError: The detector answers otherwise, or the file cannot be read.
    """
    file = folder / ANSWER_FILE
    if not file.exists():
        return
    stored = read_weights(file)
    if not {"picture", "probabilities"} <= stored.keys():
        raise HarnessError(f"{file} holds no picture and no answer", "convert again")
    picture = stored["picture"]
    if picture.dtype != torch.uint8 or picture.shape != (_SIDE, _SIDE, 3):
        raise HarnessError(
            f"the picture in {file} is {picture.dtype} of shape {tuple(picture.shape)}, expected "
            f"torch.uint8 of shape {(_SIDE, _SIDE, 3)}",
            "convert again",
        )
    off = distance(detector.probe(picture.numpy()), stored["probabilities"].float())
    if not off <= tolerance:
        raise HarnessError(
            f"the detector in {folder} answers its known question wrongly (class probabilities "
            f"off by {off:.2g} of their length, at most {tolerance} is accepted)",
            "this build of torch may not support the GPU: try --device cpu or another build, or "
            "dtype float32",
        )


def fixed_picture() -> Image:
    """Two shaded discs before a gradient: smooth regions, edges and strong colours."""
    y, x = np.mgrid[0:_SIDE, 0:_SIDE].astype(np.float32)
    picture = np.stack([x / 2 + 60, y / 2 + 90, 255 - (x + y) / 3], axis=-1)
    discs = ((90, 100, 55, (220, 40, 30)), (185, 165, 40, (20, 60, 200)))
    for centre_x, centre_y, radius, color in discs:
        distance_to_centre = np.hypot(x - centre_x, y - centre_y)
        shade = np.clip(1.2 - distance_to_centre / (2 * radius), 0, 1)[..., None]
        inside = (distance_to_centre < radius)[..., None]
        picture = np.where(inside, np.array(color) * shade, picture)
    clipped: Image = np.clip(picture, 0, 255).astype(np.uint8)
    return clipped
