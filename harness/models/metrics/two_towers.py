"""A text tower and an image tower that meet in one space: CLIP, SigLIP and their fine-tunings.

Both towers always run at one batch shape, images are prepared by Pillow whatever else is installed,
and texts are padded to the model's full length: a row's embedding depends on the row alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from harness import flops
from harness.errors import HarnessError
from harness.models.checkpoints import require
from harness.models.devices import prepare
from harness.models.dtypes import resolve_dtype
from harness.models.loading import explained, load_strictly, quiet, read_config
from harness.records import Image, Loading

FAMILIES = {"clip": "CLIPModel", "siglip": "SiglipModel"}
"""`model_type` of a checkpoint's config, and transformers' class for it."""

TOKENIZERS = ("tokenizer.json", "vocab.json", "spiece.model")


class TwoTowers:
    """A model of two towers on one device. Has state: the weights.

    Attributes:
        model: transformers' `CLIPModel` or `SiglipModel`.
        batch_size: Rows of the one batch shape.
    """

    def __init__(self, model: Any, tokenizer: Any, processor: Any, *, batch_size: int) -> None:
        self.model = model.requires_grad_(False)
        self.batch_size = batch_size
        self._tokenizer = tokenizer
        self._processor = processor
        self._is_clip = model.config.model_type == "clip"
        self._length = model.config.text_config.max_position_embeddings

    @classmethod
    def load(cls, loading: Loading) -> TwoTowers:
        """Load both towers, the tokenizer and the image settings.

        Args:
            loading: The checkpoint `model`, and `processor` where tokenizer and image settings lie
                elsewhere.

        Raises:
            HarnessError: A file is missing or damaged, or holds another kind of model.
        """
        import transformers

        place = prepare(loading.device)
        folder = loading.checkpoints["model"]
        kind = read_config(folder, "a model of two towers").get("model_type")
        if kind not in FAMILIES:
            raise HarnessError(
                f"{folder / 'config.json'} has model_type {kind!r}, expected "
                f"{' or '.join(map(repr, FAMILIES))}",
                "name a CLIP or SigLIP checkpoint",
            )
        require(folder, ["config.json", "model.safetensors"])
        dtype = resolve_dtype(loading.dtype, loading.device)
        family = getattr(transformers, FAMILIES[kind])
        model = load_strictly(family, folder, dtype=dtype).to(place)
        words = loading.checkpoints.get("processor", folder)
        require(words, ["preprocessor_config.json"])
        # Without files the library makes an empty tokenizer, for which all texts are one.
        if not any((words / name).exists() for name in TOKENIZERS):
            raise HarnessError(f"{words} has no tokenizer", "get the whole checkpoint folder")
        local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        with quiet(), explained(words, "tokenizer"):
            tokenizer = transformers.AutoTokenizer.from_pretrained(words, **local)
        with quiet(), explained(words, "image settings"):
            images = transformers.AutoImageProcessor.from_pretrained(words, backend="pil", **local)
        if len(tokenizer) > model.config.text_config.vocab_size:
            raise HarnessError(
                f"the tokenizer in {words} has {len(tokenizer)} tokens, its model "
                f"{model.config.text_config.vocab_size}",
                "they belong to different checkpoints",
            )
        return cls(model, tokenizer, images, batch_size=loading.batch_size)

    @property
    def width(self) -> int:
        """Length of an embedding."""
        config = self.model.config
        return int(config.projection_dim if self._is_clip else config.vision_config.hidden_size)

    def images(self, images: Sequence[Image]) -> Tensor:
        """Embed images: float32 of length 1, (n, width), on the CPU."""
        return self._batches(images, lambda rows: self._image_tower(self._pixels(rows)))

    def texts(self, texts: Sequence[str]) -> Tensor:
        """Embed texts, cut to the model's length: float32 of length 1, (n, width), on the CPU."""
        return self._batches(texts, lambda rows: self._text_tower(self._tokens(rows)))

    @cached_property
    def image_flops(self) -> float:
        """FLOPs of one image."""
        side = self.model.config.vision_config.image_size
        blank = torch.zeros(1, 3, side, side, dtype=self.model.dtype, device=self.model.device)
        return flops.count(lambda: self._image_tower(blank))

    @cached_property
    def text_flops(self) -> float:
        """FLOPs of one text, padding included."""
        tokens = self._tokens([""])
        return flops.count(lambda: self._text_tower(tokens))

    def _batches(self, rows: Sequence[Any], run: Any) -> Tensor:
        parts = [torch.zeros(0, self.width)]
        for start in range(0, len(rows), self.batch_size):
            chunk = list(rows[start : start + self.batch_size])
            padded = [*chunk, *[chunk[-1]] * (self.batch_size - len(chunk))]
            with torch.inference_mode():
                embedded = functional.normalize(run(padded).float(), dim=-1)
            parts.append(embedded[: len(chunk)].cpu())
        return torch.cat(parts)

    def _pixels(self, images: Sequence[Image]) -> Tensor:
        from PIL import Image as Pillow

        rows = [Pillow.fromarray(image) for image in images]
        pixels = self._processor(images=rows, return_tensors="pt")["pixel_values"]
        return torch.as_tensor(pixels).to(self.model.device, self.model.dtype)

    def _tokens(self, texts: Sequence[str]) -> dict[str, Tensor]:
        # SigLIP was trained without a mask: it reads its padding, so this is always the same.
        tokens = self._tokenizer(
            list(texts),
            padding="max_length",
            truncation=True,
            max_length=self._length,
            return_attention_mask=self._is_clip,
            return_tensors="pt",
        ).to(self.model.device)
        names = ("input_ids", "attention_mask") if self._is_clip else ("input_ids",)
        return {name: tokens[name] for name in names}

    def _image_tower(self, pixels: Tensor) -> Tensor:
        pooled: Tensor = self.model.vision_model(pixel_values=pixels).pooler_output
        return self.model.visual_projection(pooled) if self._is_clip else pooled

    def _text_tower(self, tokens: dict[str, Tensor]) -> Tensor:
        pooled: Tensor = self.model.text_model(**tokens).pooler_output
        return self.model.text_projection(pooled) if self._is_clip else pooled
