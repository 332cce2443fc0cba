"""GenEval's official detector, Mask2Former, through transformers instead of mmdet.

The network is transformers'; what surrounds it is mmdet's (`mmdet_pipeline`), so a converted
official checkpoint (`convert`) detects what the official evaluator detects.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.geneval.classes import CLASSES
from benchmarks.geneval.detection import SCORE_FLOOR, Detections
from benchmarks.geneval.loading import load_model
from benchmarks.geneval.mmdet_pipeline import Resize, TestSize, postprocess, preprocess
from harness import flops
from harness.errors import HarnessError
from harness.records import Image

SIZE_FILE = "test_size.json"
"""Beside the weights: the test size to use, `{"long": 1333, "short": 800}` where absent."""

UNUSED = ("pixel_level_module.encoder.swin.layernorm.", "pixel_level_module.encoder.layernorm.")
"""The Swin's final norm, under its names in transformers 5 and 4: features are taken before it,
and mmdet has none."""


class Mask2FormerDetector:
    """Mask2Former with mmdet's preprocessing and post-processing.

    Attributes:
        network: A transformers `Mask2FormerForUniversalSegmentation`, in evaluation mode.
        batch_size: Images of the one batch shape it runs at; smaller batches are padded.
        size: The frame images are fitted into.
        resize: Number format images are resized in.
        floor: Detections with a score at or below it are not reported.
    """

    def __init__(
        self,
        network: Any,
        *,
        batch_size: int = 1,
        size: TestSize | None = None,
        resize: Resize = "uint8",
        floor: float = SCORE_FLOOR,
    ) -> None:
        found = network.config.num_labels
        if found != len(CLASSES):
            raise HarnessError(
                f"the detector knows {found} classes, GenEval has {len(CLASSES)}",
                "use a Mask2Former trained on COCO instances",
            )
        self.network = network.eval().requires_grad_(False)
        self.batch_size = batch_size
        self.size = size or TestSize()
        self.resize: Resize = resize
        self.floor = floor
        self._flops = functools.cache(self._count_flops)

    @classmethod
    def from_folder(
        cls,
        folder: Path,
        *,
        device: str = "cpu",
        dtype: str = "float32",
        batch_size: int = 1,
        resize: Resize = "uint8",
        floor: float = SCORE_FLOOR,
    ) -> Mask2FormerDetector:
        """Load a folder that `convert` or `save_pretrained` wrote.

        Raises:
            HarnessError: The folder is incomplete, or does not fit its own configuration.
        """
        from transformers import Mask2FormerForUniversalSegmentation

        network = load_model(
            Mask2FormerForUniversalSegmentation, folder, device=device, dtype=dtype, unused=UNUSED
        )
        return cls(
            network,
            batch_size=batch_size,
            size=_read_size(folder),
            resize=resize,
            floor=floor,
        )

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """Find the objects of each image; images may differ in size.

        Raises:
            HarnessError: The network's output is not finite.
        """
        found: dict[int, Detections] = {}
        for indices in self._batches(images):
            rows = [preprocess(images[i], self.size, self.resize) for i in indices]
            class_logits, mask_logits = self._forward(rows)
            for index, classes, masks in zip(indices, class_logits, mask_logits, strict=False):
                found[index] = postprocess(
                    classes.float(),
                    masks.float(),
                    image_size=_size(images[index]),
                    size=self.size,
                    floor=self.floor,
                )
        return [found[index] for index in range(len(images))]

    def flops(self, height: int, width: int) -> float:
        """FLOPs of the network for one image, counted once for each input shape.

        Sampling in deformable attention, as all that is no matrix product, is not counted.
        """
        return self._flops(*self.size.padded(height, width))

    def logits(self, images: Sequence[Image]) -> list[tuple[Tensor, Tensor]]:
        """The network's raw output for images of one size: (class, mask) logits of each."""
        outputs: list[tuple[Tensor, Tensor]] = []
        for indices in self._batches(images):
            rows = [preprocess(images[i], self.size, self.resize) for i in indices]
            outputs += list(zip(*self._forward(rows), strict=True))[: len(rows)]
        return outputs

    def _batches(self, images: Sequence[Image]) -> Iterator[list[int]]:
        """Indices of images of equal size, at most a batch of them at a time."""
        by_size: dict[tuple[int, int], list[int]] = {}
        for index, image in enumerate(images):
            by_size.setdefault(_size(image), []).append(index)
        for indices in by_size.values():
            for start in range(0, len(indices), self.batch_size):
                yield indices[start : start + self.batch_size]

    def _forward(self, rows: list[Any]) -> tuple[Tensor, Tensor]:
        # Always the same batch shape: at another one a row's last bits may differ.
        padding = [rows[-1]] * (self.batch_size - len(rows))
        pixels = torch.from_numpy(np.stack(rows + padding))
        with torch.inference_mode():
            output = self.network(pixels.to(self.network.device, self.network.dtype))
        class_logits: Tensor = output.class_queries_logits
        mask_logits: Tensor = output.masks_queries_logits
        if not bool(torch.isfinite(class_logits).all() & torch.isfinite(mask_logits).all()):
            raise HarnessError(
                f"the detector's output is not finite ({self.network.dtype} on "
                f"{self.network.device})",
                "try dtype float32; on a GPU, check that this build of torch supports it",
            )
        return class_logits, mask_logits

    def _count_flops(self, height: int, width: int) -> float:
        pixels = torch.zeros(
            1, 3, height, width, dtype=self.network.dtype, device=self.network.device
        )
        return flops.count(lambda: self.network(pixels))


def _size(image: Image) -> tuple[int, int]:
    return image.shape[0], image.shape[1]


def _read_size(folder: Path) -> TestSize:
    file = folder / SIZE_FILE
    if not file.exists():
        return TestSize()
    try:
        return TestSize(**json.loads(file.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        raise HarnessError(
            f"{file} cannot be read: {error}", 'expected {"long": 1333, "short": 800}'
        ) from None
