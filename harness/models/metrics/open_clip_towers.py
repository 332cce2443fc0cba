"""The two towers of a CLIP of open_clip, with weights from safetensors alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional

from harness.errors import HarnessError, UsageError, first_line, shortened
from harness.models.checkpoints import require
from harness.models.devices import prepare
from harness.models.loading import read_weights
from harness.models.metrics.two_towers import Towers
from harness.records import Image, Loading

MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
"""Of CLIP's training images, by channel."""


class OpenClipTowers(Towers):
    """A `CLIP` of open_clip."""

    def __init__(self, model: Any, *, batch_size: int, width: int, dtype: torch.dtype) -> None:
        side = model.visual.image_size[0]
        super().__init__(model, batch_size=batch_size, width=width, side=side)
        self._tokenizer = _library().SimpleTokenizer(context_length=model.context_length)
        self._dtype = dtype

    @classmethod
    def load(cls, loading: Loading, architecture: str, convert: str) -> Self:
        """Load both towers.

        Args:
            loading: The checkpoint `model`, a folder with open_clip's weights.
            architecture: open_clip's name of it.
            convert: How to make such a folder of what is published, for messages.

        Raises:
            UsageError: open_clip is not installed.
            HarnessError: A file is missing or damaged, or holds another model's weights.
        """
        library = _library()
        place = prepare(loading.device)
        folder = loading.checkpoints["model"]
        require(folder, ["model.safetensors"], convert)
        weights = read_weights(folder / "model.safetensors")
        config = library.get_model_config(architecture)
        model = library.CLIP(config["embed_dim"], config["vision_cfg"], config["text_cfg"])
        own = {name: value.shape for name, value in model.state_dict().items()}
        stored = {name: value.shape for name, value in weights.items()}
        if own != stored:
            misfits = sorted(name for name in own | stored if own.get(name) != stored.get(name))
            raise HarnessError(
                f"{folder} does not hold open_clip's {architecture}: {shortened(misfits)}", convert
            )
        model.load_state_dict({name: value.float() for name, value in weights.items()})
        dtype = getattr(torch, loading.dtype)
        width, size = int(config["embed_dim"]), loading.batch_size
        return cls(model.eval().to(place), batch_size=size, width=width, dtype=dtype)

    def _pixels(self, images: Sequence[Image]) -> Tensor:
        return torch.stack([self._square(image) for image in images]).to(self._device)

    def _square(self, image: Image) -> Tensor:
        """Scale the longer side to the tower's, pad with black, normalise; (3, side, side)."""
        pixels = torch.from_numpy(image.transpose(2, 0, 1)).float()[None] / 255
        scale = self.side / max(image.shape[:2])
        height, width = (max(1, round(side * scale)) for side in image.shape[:2])
        pixels = functional.interpolate(
            pixels, (height, width), mode="bicubic", antialias=True, align_corners=False
        )[0]
        top, left = (self.side - height) // 2, (self.side - width) // 2
        margins = (left, self.side - width - left, top, self.side - height - top)
        mean, deviation = (torch.tensor(row)[:, None, None] for row in (MEAN, DEVIATION))
        return (functional.pad(pixels, margins) - mean) / deviation

    def _tokens(self, texts: Sequence[str]) -> Tensor:
        tokens: Tensor = self._tokenizer(list(texts))
        return tokens.to(self._device)

    def _image_tower(self, pixels: Tensor) -> Tensor:
        with self._precision():
            embedded: Tensor = self.model.encode_image(pixels)
        return embedded

    def _text_tower(self, tokens: Tensor) -> Tensor:
        with self._precision():
            embedded: Tensor = self.model.encode_text(tokens)
        return embedded

    @property
    def _device(self) -> torch.device:
        device: torch.device = self.model.logit_scale.device
        return device

    def _precision(self) -> torch.autocast:
        is_half = self._dtype != torch.float32
        return torch.autocast(self._device.type, self._dtype if is_half else None, enabled=is_half)


def _library() -> Any:
    try:
        import open_clip
    except Exception as error:  # a torchvision of another torch raises what it will
        raise UsageError(
            f"open_clip cannot be imported: {first_line(error)}",
            "pip install 'inference-scaling-harness[open-clip]'",
        ) from error
    return open_clip
