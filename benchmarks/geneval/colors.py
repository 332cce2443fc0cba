"""The colour of an object, by GenEval's procedure: CLIP, zero-shot over ten colours.

Everything around CLIP follows the official evaluator, including what transformers' own image
processor does a pixel differently (the middle of an odd margin).

Source: arXiv 2310.11513, section 3.2, and `evaluation/evaluate_images.py` of
github.com/djghosh13/geneval; prompt ensembling after Radford et al., arXiv 2103.00020, 3.1.4.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image as Pillow
from torch import Tensor
from torch.nn import functional

from benchmarks.geneval.classes import COLORS
from benchmarks.geneval.detectors.base import Detections, require_finite
from harness import flops
from harness.errors import HarnessError
from harness.models.loading import explained, load_strictly, read_config
from harness.records import Image

TEMPLATES = (
    "a photo of a {color} {name}",
    "a photo of a {color}-colored {name}",
    "a photo of a {color} object",
)
BACKGROUND = (0x99, 0x99, 0x99)
"""Colour that an object's surroundings are painted with before CLIP sees it."""


class Crop(NamedTuple):
    """One object of an image.

    Attributes:
        image: The whole image.
        mask: Which pixels belong to the object, bool, shape (height, width).
        box: x0, y0, x1, y1 in pixels.
        name: The object's class name.
    """

    image: Image
    mask: npt.NDArray[np.bool_]
    box: npt.NDArray[np.float32]
    name: str

    @classmethod
    def of(cls, image: Image, seen: Detections, index: int) -> Crop:
        """Return a detected object."""
        return cls(image, seen.masks[index], seen.boxes[index], seen.labels[index])


@dataclass(frozen=True, slots=True)
class ClipImageSettings:
    """The preparation of images for CLIP; the defaults are those of OpenAI's models.

    Attributes:
        shortest_edge: Length the shorter side is resized to.
        crop: Height and width cut from the middle.
        mean: Of each channel, on the scale from 0 to 1.
        std: Of each channel.
        resample: Pillow's number of the resampling filter (3 is bicubic).
    """

    shortest_edge: int = 224
    crop: tuple[int, int] = (224, 224)
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)
    resample: int = 3

    @classmethod
    def from_folder(cls, folder: Path) -> ClipImageSettings:
        """Read preprocessor_config.json, or its newer place in processor_config.json.

        Raises:
            HarnessError: Neither is there, or it does not say what is needed.
        """
        for name in ("preprocessor_config.json", "processor_config.json"):
            if not (folder / name).exists():
                continue
            try:
                content = json.loads((folder / name).read_text(encoding="utf-8"))
                content = content.get("image_processor", content)
                size, crop = content["size"], content["crop_size"]
                return cls(
                    shortest_edge=size if isinstance(size, int) else size["shortest_edge"],
                    crop=(crop, crop) if isinstance(crop, int) else (crop["height"], crop["width"]),
                    mean=tuple(content["image_mean"]),
                    std=tuple(content["image_std"]),
                    resample=content.get("resample", 3),
                )
            except (ValueError, TypeError, AttributeError, KeyError) as error:
                raise HarnessError(
                    f"{folder / name} does not describe CLIP's images: {error!r}",
                    "expected size, crop_size, image_mean and image_std",
                ) from None
        raise HarnessError(
            f"{folder} has no preprocessor_config.json", "get the whole checkpoint folder"
        )


class ClipColorClassifier:
    """CLIP as a zero-shot colour classifier; smaller batches are padded to `batch_size` objects."""

    def __init__(
        self, model: Any, tokenizer: Any, settings: ClipImageSettings, *, batch_size: int = 1
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.settings = settings
        self.batch_size = batch_size
        self._directions = functools.cache(self._embed_colors)

    @classmethod
    def forward_pass(cls, folder: Path) -> Callable[[], Any]:
        """Build CLIP's image tower from config.json alone, for one object; to count operations."""
        from transformers import CLIPConfig, CLIPVisionModel

        config = CLIPConfig.from_dict(read_config(folder, "a CLIP model"))
        vision = config.vision_config
        with torch.device("meta"):
            model: Any = CLIPVisionModel._from_config(vision, attn_implementation="eager").eval()
            projection = torch.nn.Linear(vision.hidden_size, config.projection_dim, bias=False)
            pixels = torch.empty(1, 3, vision.image_size, vision.image_size)
        return lambda: projection(model(pixel_values=pixels).pooler_output)

    def classify(self, crops: Sequence[Crop]) -> list[str]:
        """Name which of `COLORS` each object has, in order; it depends on the object alone.

        Raises:
            BadAnswer: The network's output is not finite.
        """
        return [COLORS[int(row.argmax())] for row in self.similarities(crops)]

    def similarities(self, crops: Sequence[Crop]) -> list[Tensor]:
        """Cosine of each object with each colour, in the order of `COLORS`."""
        answers = []
        for start in range(0, len(crops), self.batch_size):
            chunk = crops[start : start + self.batch_size]
            for crop, feature in zip(chunk, self._embed_images(chunk), strict=False):
                answers.append(self._directions(crop.name) @ feature)
        return answers

    def probe(self, image: Image) -> Tensor:
        """Return how much closer than to the average colour three crops are to each of `COLORS`.

        CLIP's cosines are all nearly equal; the small rest is what tells colours apart.
        """
        height, width = image.shape[:2]
        crops = []
        for number, name in enumerate(("cat", "car", "banana")):
            mask = np.zeros((height, width), np.bool_)
            left, top = number * width // 4, number * height // 4
            mask[top : top + height // 2, left : left + width // 2] = True
            box = np.array([left, top, left + width // 2, top + height // 2], np.float32)
            crops.append(Crop(image, mask, box, name))
        rows = torch.stack([row.float().cpu() for row in self.similarities(crops)])
        return rows - rows.mean(dim=1, keepdim=True)

    @functools.cached_property
    def flops_per_crop(self) -> float:
        """FLOPs of CLIP's image tower for one object.

        The colours' embeddings are made once a class and kept; they are in no object's cost.
        """
        pixels = self._to_device(np.zeros((1, 3, *self.settings.crop), np.float32))
        return flops.count(lambda: self._image_features(pixels))

    def _embed_images(self, crops: Sequence[Crop]) -> Tensor:
        rows = [clip_pixels(crop, self.settings) for crop in crops]
        # Always the same batch shape: at another one a row's last bits may differ.
        rows += [rows[-1]] * (self.batch_size - len(rows))
        with torch.inference_mode():
            features = self._image_features(self._to_device(np.stack(rows)))
            where = f"{self.model.dtype} on {self.model.device}"
            require_finite("colour classifier", where, features)
            return functional.normalize(features.float(), dim=-1)

    def _image_features(self, pixels: Tensor) -> Tensor:
        pooled = self.model.vision_model(pixel_values=pixels).pooler_output
        features: Tensor = self.model.visual_projection(pooled)
        return features

    def _embed_colors(self, name: str) -> Tensor:
        tokens = self.tokenizer(
            color_texts(name),
            padding="max_length",
            truncation=True,
            max_length=self.model.config.text_config.max_position_embeddings,
            return_tensors="pt",
        ).to(self.model.device)
        with torch.inference_mode():
            return color_directions(self.model, tokens["input_ids"], tokens["attention_mask"])[0]

    def _to_device(self, pixels: npt.NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(pixels).to(self.model.device, self.model.dtype)


def color_texts(name: str) -> list[str]:
    """Return what CLIP compares an object of a class with, all templates of a colour together."""
    return [form.format(color=color, name=name) for color in COLORS for form in TEMPLATES]


def color_directions(model: Any, ids: Tensor, mask: Tensor) -> Tensor:
    """Return each colour's direction by a CLIP, (n, 10, projection), from n names' `color_texts`.

    Normalised, averaged over templates, normalised again; ids and mask are (n x 30, tokens).
    """
    pooled = model.text_model(input_ids=ids, attention_mask=mask).pooler_output
    features = functional.normalize(model.text_projection(pooled).float(), dim=-1)
    grouped = features.reshape(-1, len(COLORS), len(TEMPLATES), features.shape[-1])
    return functional.normalize(grouped.mean(2), dim=-1)


def clip_pixels(crop: Crop, settings: ClipImageSettings) -> npt.NDArray[np.float32]:
    """Cut an object out of its image and make it CLIP's input, shape (3, height, width)."""
    whole = Pillow.fromarray(crop.image)
    grey = Pillow.new("RGB", whole.size, BACKGROUND)
    alone = Pillow.composite(whole, grey, Pillow.fromarray(crop.mask))
    x0, y0, x1, y1 = (round(float(edge)) for edge in crop.box)
    # A detector may draw a box thinner than a pixel, which would leave nothing to look at.
    cut = alone.crop((x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)))
    shorter = min(cut.size)
    width, height = (int(settings.shortest_edge * side / shorter) for side in cut.size)
    resized = cut.resize((width, height), Pillow.Resampling(settings.resample))
    top, left = (
        # torchvision's middle, which rounds halves to even; transformers rounds them down.
        round((length - crop_length) / 2)
        for length, crop_length in zip((height, width), settings.crop, strict=True)
    )
    bottom, right = top + settings.crop[0], left + settings.crop[1]
    middle = np.asarray(resized.crop((left, top, right, bottom)), np.float32) / 255
    mean, std = (np.array(values, np.float32) for values in (settings.mean, settings.std))
    normalised = (middle - mean) / std
    return np.ascontiguousarray(normalised.transpose(2, 0, 1))


def _load_tokenizer(folder: Path, vocabulary: int) -> Any:
    from transformers import CLIPTokenizer

    # Without files the library makes an empty tokenizer, for which all texts are one.
    if not (folder / "tokenizer.json").exists() and not (folder / "vocab.json").exists():
        raise HarnessError(
            f"{folder} has no tokenizer (tokenizer.json, or vocab.json and merges.txt)",
            "get the whole checkpoint folder",
        )
    with explained(folder, "tokenizer"):
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    if len(tokenizer) > vocabulary:
        raise HarnessError(
            f"the tokenizer in {folder} has {len(tokenizer)} tokens, its model {vocabulary}",
            "they belong to different checkpoints",
        )
    return tokenizer


def load_colors(
    folder: Path, device: str = "cpu", dtype: str = "float32", batch_size: int = 1
) -> ClipColorClassifier:
    """Load the colour classifier in a folder: a CLIP model, its tokenizer and its image settings.

    Raises:
        HarnessError: It holds another kind of model, or a part is missing or damaged.
    """
    from transformers import CLIPModel

    kind = read_config(folder, "a CLIP model").get("model_type")
    if kind != "clip":
        raise HarnessError(
            f"{folder / 'config.json'} has model_type {kind!r}, expected 'clip'",
            "GenEval's colour classifier is openai/clip-vit-large-patch14",
        )
    model = load_strictly(CLIPModel, folder, dtype=dtype).to(device)
    tokenizer = _load_tokenizer(folder, model.config.text_config.vocab_size)
    settings = ClipImageSettings.from_folder(folder)
    return ClipColorClassifier(model, tokenizer, settings, batch_size=batch_size)
