"""One fixed picture, asked of the networks on the device they will work on and on the CPU.

A GPU that a build of torch has no kernels for need not raise anything: the networks answer, the
answers are wrong, and the scores are quietly low (github.com/djghosh13/geneval, issue 15). So a
scorer that is loaded onto another device than the CPU first answers one question there, at its
own number format and batch shape, and is refused if the CPU, in float32 and alone, answers
otherwise. It works for any checkpoint; a converted detector also carries the answer that it gave
when it was converted (`known_answer`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from torch import Tensor

from benchmarks.geneval.centernet import CenterNetDetector
from benchmarks.geneval.colors import ClipColorClassifier, Crop
from benchmarks.geneval.known_answer import TOLERANCE, TOLERANCE_HALF, fixed_picture
from benchmarks.geneval.mask2former import Mask2FormerDetector
from benchmarks.geneval.mmdet_original import MmdetDetector
from benchmarks.geneval.mmdet_pipeline import Frame, preprocess
from harness.errors import HarnessError

if TYPE_CHECKING:
    from benchmarks.geneval.scorer import GenEvalScorer

_NAMES = ("cat", "car", "banana")


def check(scorer: GenEvalScorer, reference: GenEvalScorer, tolerance: float) -> dict[str, float]:
    """Compare a scorer's networks with the same on the CPU.

    Args:
        scorer: As it will work.
        reference: The same checkpoints on the CPU, in float32.
        tolerance: The largest accepted distance (`tolerance_of`).

    Returns:
        By part: how far the answers are apart, relative to the length of the reference's.

    Raises:
        HarnessError: One of them is further apart, or is not finite.
    """
    distances = {}
    for part, ask in (("detector", ask_detector), ("colors", ask_colors)):
        expected, found = ask(reference), ask(scorer)
        distance = float((found - expected).norm() / expected.norm())
        # Written so that NaN, too, is a wrong answer.
        if not distance <= tolerance:
            raise HarnessError(
                f"the {part} answers a fixed question otherwise here than on the CPU (off by "
                f"{distance:.2g} of the answer's length, at most {tolerance} is accepted)",
                "this build of torch may not support the device: try --device cpu, another "
                "build, or --dtype float32",
            )
        distances[part] = distance
    return distances


def tolerance_of(dtype: str) -> float:
    """The largest accepted distance for a number format."""
    return TOLERANCE if dtype == "float32" else TOLERANCE_HALF


@torch.no_grad()
def ask_detector(scorer: GenEvalScorer) -> Tensor:
    """The detector's class probabilities for the picture, one vector, float32 on the CPU."""
    detector, picture = scorer.detector, fixed_picture()
    if isinstance(detector, Mask2FormerDetector | MmdetDetector):
        pixels = torch.from_numpy(preprocess(picture, Frame(*picture.shape[:2]), "float32"))
        batch = pixels[None].repeat(detector.batch_size, 1, 1, 1)
        return detector.forward(batch)[0][-1].softmax(dim=-1).flatten().cpu()
    if isinstance(detector, CenterNetDetector):
        side = detector.config.image_size
        small = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
        pixels = torch.from_numpy(small).permute(2, 0, 1).float() / 127.5 - 1
        batch = pixels[None].repeat(detector.batch_size, 1, 1, 1)
        maps = detector.network(batch.to(detector.device, detector.dtype))
        sure, classes = maps.centres[-1].float().sigmoid(), maps.classes[-1].float().softmax(0)
        # Classes count where an object may be: elsewhere nothing taught the network any.
        return torch.cat([sure.flatten(), (sure * classes).flatten()]).cpu()
    raise HarnessError(f"no self-test is known for a {type(detector).__name__}")


def ask_colors(scorer: GenEvalScorer) -> Tensor:
    """How much closer than to the average colour some crops are to each, one vector."""
    classifier, picture = scorer.classifier, fixed_picture()
    if not isinstance(classifier, ClipColorClassifier):
        raise HarnessError(f"no self-test is known for a {type(classifier).__name__}")
    height, width = picture.shape[:2]
    crops = []
    for number, name in enumerate(_NAMES):
        mask = np.zeros((height, width), np.bool_)
        left, top = number * width // 4, number * height // 4
        mask[top : top + height // 2, left : left + width // 2] = True
        box = np.array([left, top, left + width // 2, top + height // 2], np.float32)
        crops.append(Crop(picture, mask, box, name))
    rows = torch.stack([row.float().cpu() for row in classifier.similarities(crops)])
    # All of CLIP's cosines are alike; what tells colours apart is the small rest.
    return (rows - rows.mean(dim=1, keepdim=True)).flatten()
