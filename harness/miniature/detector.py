"""The miniature's detector: a trained `CenterNet` behind GenEval's detector protocol."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from benchmarks.geneval.detectors.base import Detections, require_finite
from harness import flops
from harness.errors import HarnessError, UsageError
from harness.log.files import write_json
from harness.miniature.centernet import CenterNet, CenterNetConfig, Maps, Thresholds, decode
from harness.models.loading import read_config, read_weights
from harness.records import Image, Loading


class CenterNetDetector:
    """A trained network behind the benchmark's detector protocol.

    It runs at one batch shape, short batches padded, so that an image's detections do not depend on
    how many others are waiting.
    """

    options: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, network: CenterNet, config: CenterNetConfig, loading: Loading) -> None:
        """Put a network into evaluation mode on the device.

        Raises:
            UsageError: The number format or batch size is none that it could run at.
        """
        if loading.dtype not in ("float32", "bfloat16", "float16"):
            raise UsageError(f"dtype '{loading.dtype}'", "use float32, bfloat16 or float16")
        if loading.batch_size < 1:
            raise UsageError(f"batch size {loading.batch_size}", "use 1 or more")
        self.config = config
        self.device = torch.device(loading.device)
        self.dtype: torch.dtype = getattr(torch, loading.dtype)
        self.batch_size = loading.batch_size
        self.network = network.to(self.device, self.dtype).eval()
        self._flops = functools.cache(self._count_flops)

    @classmethod
    def load(cls, loading: Loading) -> CenterNetDetector:
        """Load ``config.json`` and ``model.safetensors`` as ``save`` writes them.

        Raises:
            HarnessError: The folder does not hold such a checkpoint.
            UsageError: The number format or batch size is none that it could run at.
        """
        folder = loading.checkpoints["detector"]
        config = _parse(read_config(folder, "a centernet detector"), folder)
        network = CenterNet(config)
        file = folder / "model.safetensors"
        try:
            network.load_state_dict(read_weights(file))
        except RuntimeError as error:
            raise HarnessError(
                f"{file} does not hold the weights that config.json describes: {error}",
                "restore both files from where the checkpoint came from",
            ) from None
        return cls(network, config, loading)

    @classmethod
    def forward_pass(cls, folder: Path, height: int, width: int) -> Callable[[], Any]:
        """Build the network from config.json alone (see `DetectorFactory`)."""
        config = _parse(read_config(folder, "a centernet detector"), folder)
        with torch.device("meta"):
            network = CenterNet(config).eval()
            pixels = torch.empty(1, 3, config.image_size, config.image_size)
        return lambda: network(pixels)

    @torch.no_grad()
    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """Find the objects of each image, uint8 RGB (height, width, 3).

        An image of another size than the network's is resized to it, and the detections back.

        Raises:
            BadAnswer: The network's output is not finite.
        """
        side = self.config.image_size
        detections: list[Detections] = []
        for start in range(0, len(images), self.batch_size):
            part = images[start : start + self.batch_size]
            pixels = torch.zeros(self.batch_size, 3, side, side)
            for row, image in enumerate(part):
                pixels[row] = _fit(torch.from_numpy(np.array(image)), side)
            pixels = (pixels / 127.5 - 1).to(self.device, self.dtype)
            maps: Maps = self.network(pixels)
            # NaN passes no threshold: it would be taken for an image that shows nothing.
            where = f"{self.dtype} on {self.device}"
            require_finite(
                "detector", where, maps.centres, maps.classes, maps.sides, maps.foreground
            )
            answers = decode(maps, self.config)[: len(part)]
            pairs = zip(part, answers, strict=True)
            detections += [_resized(answer, *image.shape[:2]) for image, answer in pairs]
        return detections

    @torch.no_grad()
    def probe(self, image: Image) -> Tensor:
        """Return how sure the network is of a centre, and of each class there, cell by cell.

        Classes are weighted by the centre's probability: where no object may be, nothing taught
        the network any.
        """
        side = self.config.image_size
        small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
        pixels = torch.from_numpy(small).permute(2, 0, 1).float() / 127.5 - 1
        batch = pixels[None].repeat(self.batch_size, 1, 1, 1)
        maps: Maps = self.network(batch.to(self.device, self.dtype))
        centres = maps.centres[-1].float().sigmoid()
        classes = maps.classes[-1].float().softmax(0)
        return torch.cat([centres.flatten(), (centres * classes).flatten()]).cpu()

    def flops(self, height: int, width: int) -> float:
        """FLOPs of detecting objects in one image; its size does not matter, as it is resized."""
        return self._flops()

    def _count_flops(self) -> float:
        side = self.config.image_size
        pixels = torch.zeros(1, 3, side, side, device=self.device, dtype=self.dtype)
        return flops.count(lambda: self.network(pixels))


def save(network: CenterNet, config: CenterNetConfig, folder: Path) -> None:
    """Write a checkpoint folder; weights in float16."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", {"model_type": "centernet", **asdict(config)})
    state = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in network.state_dict().items()
    }
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def _parse(config: dict[str, Any], folder: Path) -> CenterNetConfig:
    try:
        fine, middle, coarse = config["widths"]
        return CenterNetConfig(
            classes=tuple(config["classes"]),
            widths=(int(fine), int(middle), int(coarse)),
            image_size=int(config["image_size"]),
            thresholds=Thresholds(**config["thresholds"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise HarnessError(
            f"{folder / 'config.json'} is not a centernet detector's: {error!r}",
            "it needs classes, three widths, image_size and thresholds",
        ) from None


def _fit(image: Tensor, side: int) -> Tensor:
    """A uint8 image (height, width, 3) as float (3, side, side), 0 to 255."""
    planes = image.permute(2, 0, 1).float()
    if planes.shape[1:] == (side, side):
        return planes
    return functional.interpolate(planes[None], (side, side), mode="bilinear", antialias=True)[0]


def _resized(detections: Detections, height: int, width: int) -> Detections:
    """Detections in the coordinates of an image of another size."""
    size = detections.masks.shape[1:]
    if size == (height, width):
        return detections
    scale = np.array([width / size[1], height / size[0]] * 2, np.float32)
    rows = np.arange(height) * size[0] // height
    columns = np.arange(width) * size[1] // width
    masks = detections.masks[:, rows][:, :, columns]
    return Detections(detections.labels, detections.scores, detections.boxes * scale, masks)
