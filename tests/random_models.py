"""Models with random weights at the sizes of real ones, to measure speed and memory by.

Built on a device, or written as checkpoints and suites of them.

Pictures and verdicts mean nothing. Tokenizers are small stand-ins: prompts are padded to a fixed
length anyhow.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.geneval.classes import CLASSES, COLORS
from tests.sizes import Scale

ENDS = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}
"""Of the tokenizer that prompts get."""

DONE = "complete.json"
"""Written last, so that a folder that was interrupted is not taken for whole."""


_SUITE = """\
name = "random-{scale}-{kind}"
title = "Random weights ({scale} size): for measuring speed; pictures and scores mean nothing"

[generator]
kind = "{kind}"
checkpoints = {{ {checkpoints} }}
batch_size = {sizes[0]}

[generator.settings]
num_inference_steps = {steps}
guidance_scale = 4.5
height = {side}
width = {side}
max_sequence_length = {tokens}
{settings}
[judge]
kind = "vlm"
checkpoints = {{ model = "./vlm" }}
batch_size = {sizes[1]}
settings = {{ max_new_tokens = {answer} }}

[scorer]
checkpoints = {{ detector = "./detector", colors = "./colors" }}
dtype = "float32"
batch_size = {sizes[2]}
"""


def write_models(
    folder: Path,
    scale: Scale,
    *,
    device: str = "cpu",
    observe: Callable[[str], None] = lambda part: None,
) -> tuple[Path, Path]:
    """Write all checkpoints, unless they are there, and two suites of them.

    Args:
        folder: Where to; made if need be.
        scale: How large.
        device: Where weights are drawn; a GPU is much quicker for the full size.
        observe: Called with each part before it is written.

    Returns:
        The suites' TOML files: plain SANA, Reflect-DiT.
    """
    import torch

    parts: dict[str, Callable[[Path], None]] = {
        "pipeline": lambda path: _pipeline(path, scale),
        "vision": lambda path: save(siglip_parts(scale), path),
        "vlm": lambda path: save(vlm_parts(scale), path),
        "detector": lambda path: _detector(path, scale),
        "colors": lambda path: save(clip_parts(scale), path),
    }
    for name, write in parts.items():
        path = folder / name
        if (path / DONE).is_file():
            continue
        observe(name)
        path.mkdir(parents=True, exist_ok=True)
        half = device.startswith("cuda") and name in ("pipeline", "vision", "vlm")
        with drawn_on(device, torch.bfloat16 if half else torch.float32):
            write(path)
        (path / DONE).write_text(json.dumps({"scale": scale.name}), encoding="utf-8")
    values = {
        "scale": scale.name, "sizes": scale.batch_sizes, "steps": scale.steps, "side": scale.side,
        "tokens": scale.tokens, "answer": scale.answer,
    }  # fmt: skip
    sana, reflect = folder / "sana.toml", folder / "reflect-dit.toml"
    plain = _SUITE.format(kind="sana", checkpoints='pipeline = "./pipeline"', settings="", **values)
    sana.write_text(plain, encoding="utf-8")
    both = 'pipeline = "./pipeline", vision_encoder = "./vision"'
    own = f"image_tokens = {scale.image_tokens}\n"
    text = _SUITE.format(kind="reflect-dit", checkpoints=both, settings=own, **values)
    reflect.write_text(text, encoding="utf-8")
    return sana, reflect


@contextmanager
def drawn_on(device: str, dtype: Any) -> Iterator[None]:
    """Draw whatever weights are made inside on a device, always the same ones, in a format."""
    import torch

    from harness.models.loading import quiet

    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device), torch.random.fork_rng(), quiet():
            torch.manual_seed(0)
            yield
    finally:
        torch.set_default_dtype(before)


def save(parts: Iterable[Any], folder: Path) -> None:
    """Write parts into one folder, weights in one file."""
    from harness.models.loading import quiet

    for part in parts:
        sizes = {"max_shard_size": "100GB"} if hasattr(part, "parameters") else {}
        with quiet():
            part.save_pretrained(folder, **sizes)


def sana_parts(scale: Scale) -> dict[str, Any]:
    """Return the parts of a SANA pipeline by name; its transformer heeds feedback."""
    import torch
    from diffusers import AutoencoderDC, DPMSolverMultistepScheduler
    from transformers import Gemma2Config, Gemma2Model

    from harness.models.reflect_dit.transformer import SanaTransformer2DModelWithContext

    transformer = SanaTransformer2DModelWithContext(**scale.transformer)
    torch.nn.init.normal_(transformer.reflection_norm.weight)  # else feedback changes nothing
    return {
        "text_encoder": Gemma2Model(Gemma2Config(**scale.text, **ENDS)),
        "tokenizer": make_tokenizer(),
        "vae": AutoencoderDC(in_channels=3, **scale.autoencoder),
        "transformer": transformer,
        "scheduler": DPMSolverMultistepScheduler(
            algorithm_type="dpmsolver++",
            prediction_type="flow_prediction",
            use_flow_sigmas=True,
            flow_shift=3.0,
        ),
    }


def _pipeline(folder: Path, scale: Scale) -> None:
    for name, part in sana_parts(scale).items():
        save([part], folder / name)
    index = {
        "_class_name": "SanaPipeline",
        "scheduler": ["diffusers", "DPMSolverMultistepScheduler"],
        "text_encoder": ["transformers", "Gemma2Model"],
        "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
        "transformer": [None, None],
        "vae": ["diffusers", "AutoencoderDC"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")


def siglip_parts(scale: Scale) -> tuple[Any, Any]:
    """Return a SigLIP and its image processor."""
    from transformers import SiglipVisionConfig, SiglipVisionModel
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    config = SiglipVisionConfig(**scale.siglip)
    side = {"height": config.image_size, "width": config.image_size}
    return SiglipVisionModel(config), SiglipImageProcessorPil(size=side)


def vlm_parts(scale: Scale) -> tuple[Any, Any, Any]:
    """Return a Qwen2.5-VL, its tokenizer and its image processor."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    tokenizer = _chat_tokenizer()
    number = tokenizer.convert_tokens_to_ids
    ends = {"bos_token_id": 1, "eos_token_id": number("<|im_end|>"), "pad_token_id": 0}
    config = Qwen2_5_VLConfig(
        text_config={**scale.vlm_text, **ends},
        vision_config=dict(scale.vlm_vision),
        image_token_id=number("<|image_pad|>"),
        video_token_id=number("<|video_pad|>"),
        vision_start_token_id=number("<|vision_start|>"),
        vision_end_token_id=number("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    model = Qwen2_5_VLForConditionalGeneration(config)
    return model, tokenizer, Qwen2VLImageProcessorPil(**scale.vlm_image)


def detector_model(scale: Scale) -> Any:
    """Return a Mask2Former."""
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig

    stages = [f"stage{n}" for n in range(1, 5)]
    swin = SwinConfig(**scale.swin, patch_size=4, drop_path_rate=0.0, out_features=stages)
    config = Mask2FormerConfig(
        backbone_config=swin,
        id2label=dict(enumerate(CLASSES)),
        label2id={name: i for i, name in enumerate(CLASSES)},
        **scale.mask2former,
    )
    return Mask2FormerForUniversalSegmentation(config)


def _detector(folder: Path, scale: Scale) -> None:
    save([detector_model(scale)], folder)
    (folder / "frame.json").write_text(json.dumps(dict(scale.frame)), encoding="utf-8")


def clip_parts(scale: Scale) -> tuple[Any, Any, Any]:
    """Return a CLIP, its tokenizer and its image processor."""
    from transformers import (
        CLIPConfig,
        CLIPImageProcessorPil,
        CLIPModel,
        CLIPTextConfig,
        CLIPTokenizer,
        CLIPVisionConfig,
    )

    letters = "abcdefghijklmnopqrstuvwxyz-."
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    last = len(words) - 1
    ends = {"bos_token_id": last - 1, "eos_token_id": last, "pad_token_id": last}
    width = {"projection_dim": scale.clip_width}
    text = CLIPTextConfig(vocab_size=len(words), **scale.clip_text, **width, **ends)
    vision = CLIPVisionConfig(**scale.clip_vision, **width)
    config = CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), **width)
    vocabulary = {token: n for n, token in enumerate(words)}
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)
    side = {"height": vision.image_size, "width": vision.image_size}
    processor = CLIPImageProcessorPil(size={"shortest_edge": vision.image_size}, crop_size=side)
    return CLIPModel(config), tokenizer, processor


def make_tokenizer() -> Any:
    """A word-level tokenizer of GenEval's prompts."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    names = [word for name in CLASSES for word in (*name.split(), f"{name.split()[-1]}s")]
    other = ["a", "an", "photo", "of", "and", "left", "right", "above", "below"]
    other += ["two", "three", "four"]
    words = list(dict.fromkeys([*special, *other, *COLORS, *names]))
    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<eos>",
        bos_token="<bos>",
        unk_token="<unk>",
        padding_side="right",
    )


_CHAT = """{% for message in messages %}<|im_start|>{{ message.role }}
{% for part in message.content %}{% if part.type == 'image' %}\
<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}{% endfor %}\
<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def _chat_tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    special += ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>", "<unk>"]
    words = ["The", "image", "is", "correct", "user", "assistant", "."]
    vocabulary = {word: n for n, word in enumerate([*special, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<|im_end|>",
        unk_token="<unk>", additional_special_tokens=special[1:8], chat_template=_CHAT,
    )  # fmt: skip
