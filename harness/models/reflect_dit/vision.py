"""The eyes of Reflect-DiT: a SigLIP encoder whose patches are pooled into a few tokens an image.

Zhai et al., "Sigmoid Loss for Language Image Pre-Training", arXiv 2303.15343; the pooling is
Reflect-DiT's (arXiv 2503.12271): the last hidden state as a square grid, averaged to 8 x 8.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from PIL import Image as Pillow
from transformers import SiglipVisionModel
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from harness.errors import HarnessError, UsageError
from harness.models.checkpoints import require
from harness.models.loading import explained, load_strictly, quiet
from harness.records import Image

_TEXT_HALF = ("text_model.", "logit_scale", "logit_bias")
"""Parts of the names of weights of a whole SigLIP that its vision half does without."""


class VisionEncoder:
    """A SigLIP vision model and its image processor, one image at a time."""

    def __init__(self, model: Any, processor: Any) -> None:
        self.model = model
        self.processor = processor

    @classmethod
    def load(cls, folder: Path, *, device: torch.device, dtype: str) -> VisionEncoder:
        """Load it from a folder of a whole SigLIP or of its vision half.

        Raises:
            HarnessError: A file is missing, damaged, or another model's.
        """
        require(folder, ["config.json", "model.safetensors", "preprocessor_config.json"])
        model = load_strictly(SiglipVisionModel, folder, dtype=dtype, ignore=_TEXT_HALF)
        with quiet(), explained(folder, "image processor"):
            # Pillow's resampling, wherever torchvision may be installed: equal pixels everywhere.
            processor = SiglipImageProcessorPil.from_pretrained(folder, local_files_only=True)
        return cls(model.to(device), processor)

    @property
    def channels(self) -> int:
        """Channels of a token."""
        return int(self.model.config.hidden_size)

    def encode(self, image: Image, tokens: int) -> torch.Tensor:
        """Look at one image: (tokens, channels).

        One image a call, so that its bits do not depend on what else is looked at.

        Raises:
            UsageError: `tokens` is no square number, or its root does not divide the grid's side.
        """
        grid = self.model.config.image_size // self.model.config.patch_size
        side = math.isqrt(tokens)
        if side * side != tokens or grid % side:
            raise UsageError(
                f"a vision encoder of {grid} x {grid} patches cannot give {tokens} image tokens",
                "image_tokens is the square of a divisor of the grid's side",
            )
        pixels = self.processor(Pillow.fromarray(image), return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            patches = self.model(pixels.to(self.model.device, self.model.dtype)).last_hidden_state
        return pooled(patches, tokens)[0]


def pooled(patches: torch.Tensor, tokens: int) -> torch.Tensor:
    """Average the patches of a square grid, (n, patches, channels), to (n, tokens, channels).

    The tokens are the square of a divisor of the grid's side.

    Raises:
        HarnessError: The patches form no square.
    """
    grid = math.isqrt(patches.shape[1])
    if grid * grid != patches.shape[1]:
        raise HarnessError(f"the vision encoder gave {patches.shape[1]} patches, no square")
    square = patches.transpose(1, 2).reshape(len(patches), -1, grid, grid)
    averaged = torch.nn.functional.avg_pool2d(square, grid // math.isqrt(tokens))
    return averaged.flatten(2).transpose(1, 2)
