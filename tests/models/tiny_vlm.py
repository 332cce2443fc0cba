"""A tiny random Qwen2.5-VL in the real format; its answers mean nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from harness.models.loading import quiet

SPECIAL = ["<pad>", "<|endoftext|>", "<|im_start|>", "<|im_end|>"]
SPECIAL += ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>", "<unk>"]
WORDS = [*SPECIAL, "the", "image", "is", "correct", "not", "there", "no", "bench", "cow", "a"]
WORDS += ["photo", "of", "user", "assistant", ".", "The"]
TEMPLATE = """{% for message in messages %}<|im_start|>{{ message.role }}
{% for part in message.content %}{% if part.type == 'image' %}\
<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}{% endfor %}\
<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def make_tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {word: i for i, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<|im_end|>",
        unk_token="<unk>",
        additional_special_tokens=SPECIAL[1:8],
        chat_template=TEMPLATE,
    )


def make_qwen(folder: Path, *, tied: bool = False) -> None:
    """Write a Qwen2.5-VL of two layers and its processor: 4x4 patches, merged by fours."""
    text = {
        "vocab_size": len(WORDS),
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "bos_token_id": 1,
        "eos_token_id": 3,
        "pad_token_id": 0,
        "initializer_range": 0.3,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "mrope_section": [1, 1, 2],
        },
    }
    vision = {
        "depth": 2,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_heads": 2,
        "patch_size": 4,
        "window_size": 16,
        "out_hidden_size": 32,
        "fullatt_block_indexes": [1],
        "initializer_range": 0.3,
    }
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=6,
        video_token_id=7,
        vision_start_token_id=4,
        vision_end_token_id=5,
        tie_word_embeddings=tied,
    )
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(0)
        Qwen2_5_VLForConditionalGeneration(config).save_pretrained(folder)
        make_tokenizer().save_pretrained(folder)
        size = {"shortest_edge": 64, "longest_edge": 4096}
        Qwen2VLImageProcessorPil(patch_size=4, size=size).save_pretrained(folder)


def make_llava(folder: Path) -> None:
    """Write a LLaVA of one layer and its processor."""
    from transformers import (
        CLIPImageProcessorPil,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    sizes = {"intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes["hidden_size"] = 16
    vision = {"model_type": "clip_vision_model", "image_size": 16, "patch_size": 8, **sizes}
    text = {"model_type": "llama", "vocab_size": len(WORDS), "num_key_value_heads": 2, **sizes}
    text |= {"bos_token_id": 1, "eos_token_id": 3, "pad_token_id": 0}
    config = LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=6, vision_feature_layer=-1
    )
    side = {"height": 16, "width": 16}
    image_processor = CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size=side)
    with torch.random.fork_rng(devices=[]), quiet():
        LlavaForConditionalGeneration(config).save_pretrained(folder)
        LlavaProcessor(
            image_processor,
            make_tokenizer(),
            patch_size=8,
            vision_feature_select_strategy="default",
            num_additional_image_tokens=1,
            image_token="<|image_pad|>",
            chat_template=TEMPLATE,
        ).save_pretrained(folder)
