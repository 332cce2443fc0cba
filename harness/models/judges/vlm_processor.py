"""What turns a question and an image into a vision-language model's inputs.

Qwen2-VL's and Qwen2.5-VL's stock processors want a video processor, and that wants torchvision;
for these families the stock class is built here from its tokenizer and image processor alone,
with Pillow's resampling. Every other family comes with its own processor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.models.loading import explained, quiet

if TYPE_CHECKING:
    import torch

    Inputs = dict[str, torch.Tensor]
else:
    Inputs = dict

_QWEN = ("qwen2_vl", "qwen2_5_vl")


def load_processor(folder: Path, model_type: str) -> Any:
    """Load the processor of a family of models.

    Args:
        folder: Tokenizer, chat template, image processor.
        model_type: The `model_type` of the model's config.

    Raises:
        HarnessError: A file is missing or damaged.
    """
    from transformers import AutoProcessor

    with quiet(), explained(folder, "processor"):
        if model_type in _QWEN:
            processor = _load_qwen(folder)
        else:
            processor = AutoProcessor.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
        if processor.tokenizer.pad_token_id is None:
            raise ValueError("its tokenizer has no padding token")
    return processor


def _load_qwen(folder: Path) -> Any:
    from transformers import AutoTokenizer, Qwen2_5_VLProcessor
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
    from transformers.processing_utils import ProcessorMixin

    class StillImageProcessor(Qwen2_5_VLProcessor):  # type: ignore[misc]
        # The arguments' names tell the base class which parts there are.
        def __init__(
            self, image_processor: Any, tokenizer: Any, chat_template: str | None = None
        ) -> None:
            for kind in ("image", "video"):
                token = getattr(tokenizer, f"{kind}_token", f"<|{kind}_pad|>")
                setattr(self, f"{kind}_token", token)
                setattr(self, f"{kind}_token_id", tokenizer.convert_tokens_to_ids(token))
            ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)

    tokenizer = AutoTokenizer.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False
    )
    stored, _ = Qwen2_5_VLProcessor.get_processor_dict(folder, local_files_only=True)
    return StillImageProcessor(
        Qwen2VLImageProcessorPil.from_pretrained(folder, local_files_only=True),
        tokenizer,
        chat_template=stored.get("chat_template") or tokenizer.chat_template,
    )


def pad(inputs: Mapping[str, torch.Tensor], length: int, pad_token: int) -> Inputs:
    """Pad a single row's inputs on the left, so that all rows end, and go on, together.

    Args:
        inputs: Of one row; what has one value a token is padded, the rest (pixels) stays.
        length: Tokens to pad to.
        pad_token: What fills `input_ids`; everything else is filled with 0.
    """
    import torch

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
    import torch

    batch = {name: torch.cat([row[name] for row in rows]).to(device) for name in rows[0]}
    return {
        name: value.to(dtype) if value.is_floating_point() else value
        for name, value in batch.items()
    }
