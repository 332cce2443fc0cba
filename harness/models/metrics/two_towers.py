"""A text tower and an image tower that meet in one space: CLIP, SigLIP and their fine-tunings.

Both towers always run at one batch shape, images are prepared by Pillow whatever else is installed,
and texts are padded to the model's full length: a row's embedding depends on the row alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from harness import flops
from harness.errors import BadAnswer, Failure, HarnessError
from harness.models.checkpoints import require
from harness.models.devices import prepare
from harness.models.loading import explained, load_strictly, quiet, read_config
from harness.records import Image, Loading

FAMILIES = {"clip": "CLIPModel", "siglip": "SiglipModel"}
"""`model_type` of a checkpoint's config, and transformers' class for it."""

MOST_RATIO = 200
"""Of an image's sides: the shorter one is scaled to what a tower reads, and the longer one with it,
so that a thin image of few pixels would take all memory."""

TOKENIZERS = ("tokenizer.json", "vocab.json", "spiece.model")


class Towers(ABC):
    """A model of two towers on one device, of whatever library. Has state: the weights.

    Attributes:
        model: The library's.
        batch_size: Rows of the one batch shape.
        width: Length of an embedding.
        side: Pixels of a side of what the image tower reads.
    """

    def __init__(self, model: Any, *, batch_size: int, width: int, side: int) -> None:
        self.model = model.requires_grad_(False)
        self.batch_size = batch_size
        self.width = width
        self.side = side

    def images(self, images: Sequence[Image]) -> Tensor:
        """Embed images: float32 of length 1, (n, width), on the CPU."""
        return self._batches(images, lambda rows: self._image_tower(self._pixels(rows)))

    def texts(self, texts: Sequence[str]) -> Tensor:
        """Embed texts, cut to the model's length: float32 of length 1, (n, width), on the CPU."""
        return self._batches(texts, lambda rows: self._text_tower(self._tokens(rows)))

    @cached_property
    def image_flops(self) -> float:
        """FLOPs of one image."""
        weight = next(self.model.parameters())
        blank = torch.zeros(1, 3, self.side, self.side, dtype=weight.dtype, device=weight.device)
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

    @abstractmethod
    def _pixels(self, images: Sequence[Image]) -> Tensor:
        """Return images as the image tower reads them, (n, 3, side, side)."""

    @abstractmethod
    def _tokens(self, texts: Sequence[str]) -> Any:
        """Return texts as the text tower reads them."""

    @abstractmethod
    def _image_tower(self, pixels: Tensor) -> Tensor:
        """Embed images, (n, width)."""

    @abstractmethod
    def _text_tower(self, tokens: Any) -> Tensor:
        """Embed texts, (n, width)."""


class TwoTowers(Towers):
    """`CLIPModel` or `SiglipModel` of transformers."""

    def __init__(self, model: Any, tokenizer: Any, processor: Any, *, batch_size: int) -> None:
        config = model.config
        self._is_clip = config.model_type == "clip"
        width = config.projection_dim if self._is_clip else config.vision_config.hidden_size
        side = config.vision_config.image_size
        super().__init__(model, batch_size=batch_size, width=int(width), side=side)
        self._tokenizer = tokenizer
        self._processor = processor
        self._length = config.text_config.max_position_embeddings

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
        family = getattr(transformers, FAMILIES[kind])
        model = load_strictly(family, folder, dtype=loading.dtype).to(place)
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
        towers = cls(model, tokenizer, images, batch_size=loading.batch_size)
        sizes = [getattr(images, name, None) or {} for name in ("size", "crop_size")]
        if (
            max((n for size in sizes for n in dict(size).values() if n), default=0)
            > 2 * towers.side
        ):
            raise HarnessError(
                f"the image settings in {words} make images of {sizes[0]}, and its model reads "
                f"{towers.side} × {towers.side}",
                "they belong to different checkpoints",
            )
        if len(tokenizer) > model.config.text_config.vocab_size:
            raise HarnessError(
                f"the tokenizer in {words} has {len(tokenizer)} tokens, its model "
                f"{model.config.text_config.vocab_size}",
                "they belong to different checkpoints",
            )
        return towers

    def _pixels(self, images: Sequence[Image]) -> Tensor:
        from PIL import Image as Pillow

        for image in images:
            height, width = image.shape[:2]
            if max(height, width) > MOST_RATIO * min(height, width):
                raise BadAnswer(
                    Failure.WRONG_SHAPE,
                    f"an image of {width} × {height} pixels is longer than {MOST_RATIO} times its "
                    "width, and cannot be scaled to a square",
                )
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
