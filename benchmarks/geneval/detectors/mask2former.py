"""GenEval's official detector, Mask2Former, through transformers instead of mmdet.

The network is transformers'; what surrounds it is mmdet's (`mmdet_pipeline`), so a converted
official checkpoint (`convert`) detects what the official evaluator detects.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor

from benchmarks.geneval.classes import CLASSES
from benchmarks.geneval.detectors.base import SCORE_FLOOR, Detections, require_finite
from benchmarks.geneval.detectors.mmdet.pipeline import (
    Frame,
    Resize,
    postprocess,
    preprocess,
)
from harness import flops
from harness.errors import HarnessError
from harness.models.loading import load_strictly, read_config
from harness.records import Image, Loading

FRAME_FILE = "frame.json"
"""Beside the weights: the frame to use, `{"long": 1333, "short": 800}` where absent."""

UNUSED = ("pixel_level_module.encoder.swin.layernorm.", "pixel_level_module.encoder.layernorm.")
"""The Swin's final norm, under its names in transformers 5 and 4: features are taken before it,
and mmdet has none."""


class FramedDetector:
    """A Mask2Former with mmdet's protocol around it, whichever library runs the network.

    Attributes:
        network: In evaluation mode, its weights in float32.
        batch_size: Images of the one batch shape it runs at; smaller batches are padded.
        frame: The frame images are fitted into.
        resize: Number format images are resized in.
    """

    options: ClassVar = frozenset({"resize"})

    def __init__(
        self,
        network: Any,
        *,
        batch_size: int = 1,
        frame: Frame | None = None,
        resize: Resize = "uint8",
    ) -> None:
        self.network = network.eval().requires_grad_(False)
        self.batch_size = batch_size
        self.frame = frame or Frame()
        self.resize: Resize = resize
        self._flops = functools.cache(self._count_flops)

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """Find the objects of each image; images may differ in size.

        Raises:
            BadAnswer: The network's output is not finite.
        """
        results: dict[int, Detections] = {}
        for indices in batches(images, self.batch_size):
            detections = self._detect([images[index] for index in indices])
            results.update(zip(indices, detections, strict=True))
        return [results[index] for index in range(len(images))]

    def _detect(self, images: Sequence[Image]) -> list[Detections]:
        """Find the objects of at most a batch of images of one size."""
        raise NotImplementedError

    def flops(self, height: int, width: int) -> float:
        """FLOPs of the network for one image, counted once for each input shape.

        Sampling in deformable attention, as all that is no matrix product, is not counted.
        """
        return self._flops(*self.frame.padded(height, width))

    def probe(self, image: Image) -> Tensor:
        """Return the class probabilities for an image, shape (queries, classes + 1).

        The network is given a batch full of it, at the image's own size.
        """
        pixels = torch.from_numpy(preprocess(image, Frame(*image.shape[:2]), "float32"))
        logits = self.forward(pixels[None].repeat(self.batch_size, 1, 1, 1))[0][-1]
        return logits.float().softmax(dim=-1).cpu().clone()

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Run the network on what `mmdet.pipeline.preprocess` makes, (batch, 3, height, width).

        Returns:
            Class logits (batch, queries, classes + 1) and mask logits (batch, queries, height
            / 4, width / 4), float32.
        """
        raise NotImplementedError

    def _count_flops(self, height: int, width: int) -> float:
        pixels = torch.zeros(1, 3, height, width)
        return flops.count(lambda: self.forward(pixels))


class Mask2FormerDetector(FramedDetector):
    """Transformers' Mask2Former.

    Attributes:
        dtype: Number format it computes in. With a 16-bit format the pixel decoder stays in
            float32: it computes places in the image, which 8 bits cannot tell apart.
    """

    def __init__(self, network: Any, *, dtype: torch.dtype = torch.float32, **options: Any) -> None:
        results = network.config.num_labels
        if results != len(CLASSES):
            raise HarnessError(
                f"the detector knows {results} classes, GenEval has {len(CLASSES)}",
                "use a Mask2Former trained on COCO instances",
            )
        super().__init__(network, **options)
        self.dtype = dtype
        _keep_in_float32(self.network.model.pixel_level_module.decoder)

    @classmethod
    def load(cls, loading: Loading) -> Mask2FormerDetector:
        """Load a folder that `convert` or `save_pretrained` wrote (see `DetectorFactory`)."""
        from transformers import Mask2FormerForUniversalSegmentation

        folder, own = loading.checkpoints["detector"], cast(dict[str, Any], loading.settings)
        network = load_strictly(
            Mask2FormerForUniversalSegmentation, folder, dtype="float32", ignore=UNUSED
        )
        return cls(
            network.to(loading.device).requires_grad_(False),
            dtype=getattr(torch, loading.dtype),
            batch_size=loading.batch_size,
            frame=read_frame(folder),
            **own,
        )

    @classmethod
    def forward_pass(cls, folder: Path, height: int, width: int) -> Callable[[], Any]:
        """Build the network from config.json alone (see `DetectorFactory`)."""
        from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation

        config = Mask2FormerConfig.from_dict(read_config(folder, "a Mask2Former"))
        # Its attention reads values of its input, so torch's meta device is not enough.
        network = Mask2FormerForUniversalSegmentation(config).eval()
        pixels = torch.zeros(1, 3, *read_frame(folder).padded(height, width))
        return lambda: network(pixels)

    def _detect(self, images: Sequence[Image]) -> list[Detections]:
        size = _size(images[0])
        return [
            postprocess(classes, masks, image_size=size, frame=self.frame, floor=SCORE_FLOOR)
            for classes, masks in self._run(images)
        ]

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Run the network in its number format (see `FramedDetector.forward`)."""
        device = self.network.device
        half = self.dtype != torch.float32
        with torch.inference_mode(), torch.autocast(device.type, self.dtype, enabled=half):
            output = self.network(pixels.to(device))
        return output.class_queries_logits.float(), output.masks_queries_logits.float()

    def _run(self, images: Sequence[Image]) -> list[tuple[Tensor, Tensor]]:
        """Logits of at most a batch of images of one size."""
        rows = [preprocess(image, self.frame, self.resize) for image in images]
        # Always the same batch shape: at another one a row's last bits may differ.
        rows += [rows[-1]] * (self.batch_size - len(rows))
        class_logits, mask_logits = self.forward(torch.from_numpy(np.stack(rows)))
        where = f"{self.dtype} on {self.network.device}"
        require_finite("detector", where, class_logits, mask_logits)
        return list(zip(class_logits, mask_logits, strict=True))[: len(images)]


def _keep_in_float32(module: Any) -> None:
    """Switch autocast off inside a module, whose first argument is a list of tensors."""
    forward = module.forward

    @functools.wraps(forward)
    def in_float32(features: Sequence[Tensor], *args: Any, **kwargs: Any) -> Any:
        with torch.autocast(features[0].device.type, enabled=False):
            return forward([feature.float() for feature in features], *args, **kwargs)

    module.forward = in_float32


def batches(images: Sequence[Image], size: int) -> Iterator[list[int]]:
    """Indices of images of equal height and width, at most `size` of them at a time."""
    by_size: dict[tuple[int, int], list[int]] = {}
    for index, image in enumerate(images):
        by_size.setdefault(_size(image), []).append(index)
    for indices in by_size.values():
        for start in range(0, len(indices), size):
            yield indices[start : start + size]


def _size(image: Image) -> tuple[int, int]:
    return image.shape[0], image.shape[1]


def read_frame(folder: Path) -> Frame:
    """The frame that a detector folder asks for, or the official one.

    Raises:
        HarnessError: Its frame file cannot be read.
    """
    file = folder / FRAME_FILE
    if not file.exists():
        return Frame()
    try:
        return Frame(**json.loads(file.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        raise HarnessError(
            f"{file} cannot be read: {error}", 'expected {"long": 1333, "short": 800}'
        ) from None
