"""Vision-language models from local checkpoints, and what turns questions and images into inputs.

The stock processors of the Qwen-VL families want a video processor, and that wants torchvision;
for these families the stock class is built here from its tokenizer and image processor alone.
Images are resized by Pillow, or by the routine of torch that torchvision calls: the two differ by
a grey level here and there. Every other family comes with its own processor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from PIL import Image as Pillow
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    Qwen2_5_VLProcessor,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import (
    Qwen2VLImageProcessorPil,
    smart_resize,
)
from transformers.processing_utils import ProcessorMixin

from harness.errors import BadAnswer, Failure
from harness.models.checkpoints import require
from harness.models.devices import prepare
from harness.models.loading import explained, load_strictly, quiet
from harness.models.remote_code import is_trusted
from harness.records import Image, Loading

Inputs = dict[str, torch.Tensor]
"""What a model reads, by the names of its arguments."""

QWEN = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe")
"""Families whose processor is built here, by the `model_type` of their config."""

Resize = Literal["torchvision", "pillow"]
"""Whose bicubic resampling images get: torchvision's is the stock processors' own."""


def load_vlm(
    loading: Loading, *, part: str = "model", resize: Resize = "pillow"
) -> tuple[Any, Any]:
    """Load an image-text-to-text model of transformers and its processor.

    Args:
        loading: The checkpoint `part` is the model; `processor` the folder of its tokenizer, chat
            template and image processor, if not the same.
        part: See `loading`.
        resize: Of images; families other than `QWEN` have their own way.

    Raises:
        UsageError: No such device.
        HarnessError: A file is missing or damaged, or weights do not fit the model.
    """
    place = prepare(loading.device)
    folder = loading.checkpoints[part]
    require(folder, ["config.json", "model.safetensors"])
    model = load_strictly(AutoModelForImageTextToText, folder, dtype=loading.dtype).to(place)
    words = loading.checkpoints.get("processor", folder)
    return model, load_processor(words, model.config.model_type, resize=resize)


class Weights(NamedTuple):
    """The number of a model's weights, by where its FLOPs come from.

    Attributes:
        vision: Of the vision model, which each patch passes.
        language: Of the language model's blocks, which each token passes.
        head: Of its head, which each predicted token passes.
    """

    vision: int
    language: int
    head: int

    def flops(self, patches: int, tokens: int, predicted: int) -> float:
        """Return two FLOPs per weight and patch, token read or written, or token predicted.

        Source: Kaplan et al., arXiv 2001.08361, section 2.1. Attention's own products, a few
        percent, are left out.
        """
        return 2.0 * (self.vision * patches + self.language * tokens + self.head * predicted)


def count_weights(model: Any) -> Weights:
    """Count a model's weights; a head tied to the table of embeddings counts as a head."""
    table = model.get_input_embeddings().weight
    head = model.get_output_embeddings().weight
    weights = dict(model.named_parameters())  # a tied head appears once
    vision = sum(weight.numel() for name, weight in weights.items() if ".vis" in name)
    whole = sum(weight.numel() for weight in weights.values())
    outside = table.numel() + (0 if head is table else head.numel())
    return Weights(vision, whole - vision - outside, head.numel())


def load_processor(folder: Path, model_type: str, *, resize: Resize = "pillow") -> Any:
    """Load tokenizer, chat template and image processor of a family (the config's `model_type`).

    Raises:
        HarnessError: A file is missing or damaged.
    """
    with quiet(), explained(folder, "processor"):
        if model_type in QWEN:
            processor = _load_qwen(folder, resize)
        else:
            processor = AutoProcessor.from_pretrained(
                folder, local_files_only=True, trust_remote_code=is_trusted()
            )
        if processor.tokenizer.pad_token_id is None:
            raise ValueError("its tokenizer has no padding token")
    return processor


def _load_qwen(folder: Path, resize: Resize) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(
        folder, local_files_only=True, trust_remote_code=is_trusted()
    )
    stored, _ = Qwen2_5_VLProcessor.get_processor_dict(folder, local_files_only=True)
    images: Any = Qwen2VLImageProcessorPil if resize == "pillow" else TorchResizing
    return StillImageProcessor(
        images.from_pretrained(folder, local_files_only=True),
        tokenizer,
        chat_template=stored.get("chat_template") or tokenizer.chat_template,
    )


class StillImageProcessor(Qwen2_5_VLProcessor):  # type: ignore[misc]
    """Qwen-VL's processor without a part for videos."""

    # The arguments' names tell the base class which parts there are.
    def __init__(
        self, image_processor: Any, tokenizer: Any, chat_template: str | None = None
    ) -> None:
        for kind in ("image", "video"):
            token = getattr(tokenizer, f"{kind}_token", f"<|{kind}_pad|>")
            setattr(self, f"{kind}_token", token)
            setattr(self, f"{kind}_token_id", tokenizer.convert_tokens_to_ids(token))
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)


class TorchResizing(Qwen2VLImageProcessorPil):  # type: ignore[misc]
    """Resizes as torchvision does: torch's own bicubic interpolation of whole grey levels."""

    def resize(self, image: Any, size: Any, resample: Any, factor: int, **options: Any) -> Any:
        """Resize an image, (channels, height, width), to sides that are multiples of `factor`."""
        sides = smart_resize(
            *image.shape[-2:],
            factor=factor,
            min_pixels=size.shortest_edge,
            max_pixels=size.longest_edge,
        )
        if sides == tuple(image.shape[-2:]):
            return image
        if int(resample) != 3:
            raise ValueError(f"it resamples images by way {resample}, expected 3 (bicubic)")
        pixels = torch.from_numpy(image)[None]
        return torch.nn.functional.interpolate(
            pixels, sides, mode="bicubic", antialias=True, align_corners=False
        )[0].numpy()


def chat(text: str, images: Sequence[Image]) -> list[dict[str, Any]]:
    """Return a question behind its images as a chat, for a processor's template."""
    content: list[dict[str, Any]] = [
        *({"type": "image", "image": Pillow.fromarray(image)} for image in images),
        {"type": "text", "text": text},
    ]
    return [{"role": "user", "content": content}]


def chat_inputs(processor: Any, text: str, images: Sequence[Image]) -> Inputs:
    """Return the inputs of a model that is to answer a question about images, one row."""
    inputs = processor.apply_chat_template(
        [chat(text, images)],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    return dict(inputs)


def pad(inputs: Mapping[str, torch.Tensor], length: int, pad_token: int) -> Inputs:
    """Pad a single row's inputs on the left, so that all rows end, and go on, together.

    What has one value a token is padded (`input_ids` with a token, all else with 0); pixels stay.
    """
    own = inputs["input_ids"].shape[1]
    return {
        name: torch.nn.functional.pad(
            value, (length - own, 0), value=pad_token if name == "input_ids" else 0
        )
        if value.shape[:2] == (1, own)
        else value
        for name, value in inputs.items()
    }


def stack(rows: Sequence[Inputs], device: torch.device, dtype: torch.dtype) -> Inputs:
    """Join rows of equal shapes into one batch on a device; pixels get the model's dtype."""
    batch = {name: torch.cat([row[name] for row in rows]).to(device) for name in rows[0]}
    return {
        name: value.to(dtype) if value.is_floating_point() else value
        for name, value in batch.items()
    }


def check_finite(logits: torch.Tensor) -> None:
    """Stop at what only a broken model gives.

    Raises:
        BadAnswer: A logit is NaN or plus infinity.
    """
    if bool(logits.isnan().any()) or bool(logits.isposinf().any()):
        raise BadAnswer(
            Failure.BAD_NUMBER,
            "the vision-language model's output has NaN or infinite values",
            "its weights may not bear their number format: try another dtype",
        )
