"""A known question and its answer beside a detector's weights, asked whenever it is loaded.

A GPU that a build of torch has no kernels for, a wrong library version or a damaged file need
not raise anything: the run goes on and the scores are quietly low (github.com/djghosh13/geneval,
issues 15 and 21). So `convert` asks the network about one fixed picture, on the CPU in float32,
and keeps the answer; a loaded network that answers otherwise is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.geneval.mmdet_pipeline import Frame, preprocess
from harness.errors import HarnessError
from harness.models.loading import read_weights
from harness.records import Image

ANSWER_FILE = "known_answer.safetensors"
Ask = Callable[[Tensor], Tensor]
"""Network input, shape (1, 3, height, width), to class logits, shape (1, queries, classes + 1)."""

TOLERANCE = 0.02
"""Largest accepted distance between the class probabilities, relative to their length."""
TOLERANCE_HALF = 0.3
"""The same for a network that runs in a 16-bit format. On the reference network bfloat16 moves
them by 0.02, and a network that sees nothing is off by 1.1."""

_SIDE = 256


def write_answer(ask: Ask, folder: Path) -> None:
    """Ask a network and store picture and answer in its folder."""
    from safetensors.torch import save_file

    picture = fixed_picture()
    tensors = {"picture": torch.from_numpy(picture), "probabilities": _answer(ask, picture)}
    save_file(tensors, folder / ANSWER_FILE)


def check_answer(ask: Ask, folder: Path, tolerance: float) -> None:
    """Ask a loaded network the same, if its folder has an answer.

    Raises:
        HarnessError: It answers otherwise, or the file cannot be read.
    """
    file = folder / ANSWER_FILE
    if not file.exists():
        return
    stored = read_weights(file)
    if not {"picture", "probabilities"} <= stored.keys():
        raise HarnessError(f"{file} holds no picture and no answer", "convert again")
    picture, expected = stored["picture"].numpy(), stored["probabilities"]
    found = _answer(ask, picture)
    distance = float((found - expected).norm() / expected.norm())
    # Written so that NaN, too, is a wrong answer.
    if not distance <= tolerance:
        raise HarnessError(
            f"the detector in {folder} answers its known question wrongly (class probabilities "
            f"off by {distance:.2g} of their length, at most {tolerance} is accepted)",
            "this build of torch may not support the GPU: try --device cpu or another build, or "
            "dtype float32",
        )


def _answer(ask: Ask, picture: Image) -> Tensor:
    pixels = torch.from_numpy(preprocess(picture, Frame(_SIDE, _SIDE), "float32"))[None]
    return ask(pixels)[0].float().softmax(dim=-1).cpu().clone()


def fixed_picture() -> Image:
    """Two shaded discs before a gradient: smooth regions, edges and strong colours."""
    y, x = np.mgrid[0:_SIDE, 0:_SIDE].astype(np.float32)
    picture = np.stack([x / 2 + 60, y / 2 + 90, 255 - (x + y) / 3], axis=-1)
    discs = ((90, 100, 55, (220, 40, 30)), (185, 165, 40, (20, 60, 200)))
    for centre_x, centre_y, radius, color in discs:
        distance = np.hypot(x - centre_x, y - centre_y)
        shade = np.clip(1.2 - distance / (2 * radius), 0, 1)[..., None]
        picture = np.where((distance < radius)[..., None], np.array(color) * shade, picture)
    clipped: Image = np.clip(picture, 0, 255).astype(np.uint8)
    return clipped
