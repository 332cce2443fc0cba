"""Sizes of the models that speed and memory are measured by, as their config classes take them.

SANA 1.0 1.6B, Reflect-DiT, Qwen2.5-VL 3B, SigLIP large, Mask2Former Swin-S and CLIP ViT-L/14. What
is left out is the config class's own default: the parameters' number is tested against the cards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Sizes = Mapping[str, Any]


@dataclass(frozen=True)
class Scale:
    """Sizes of all parts; `needs_gpu` where a CPU would take days."""

    name: str
    side: int
    steps: int
    tokens: int
    image_tokens: int
    answer: int
    batch_sizes: tuple[int, int, int]
    autoencoder: Sizes
    siglip: Sizes
    vlm_text: Sizes
    vlm_vision: Sizes
    vlm_image: Sizes
    swin: Sizes
    frame: Mapping[str, int]
    clip_text: Sizes
    clip_vision: Sizes
    clip_width: int
    text: Sizes = field(default_factory=dict)
    transformer: Sizes = field(default_factory=dict)
    mask2former: Sizes = field(default_factory=dict)
    needs_gpu: bool = False


_BLOCKS = ("ResBlock",) * 3 + ("EfficientViTBlock",) * 3

FULL = Scale(
    name="full",
    side=1024,
    steps=20,
    tokens=300,
    image_tokens=64,
    answer=128,
    batch_sizes=(8, 8, 4),
    autoencoder=dict(
        encoder_block_types=_BLOCKS, decoder_block_types=_BLOCKS,
        upsample_block_type="interpolate", downsample_block_type="Conv", scaling_factor=0.41407,
    ),
    siglip=dict(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16,
        image_size=384, patch_size=16,
    ),
    vlm_text=dict(
        vocab_size=151936, hidden_size=2048, intermediate_size=11008, num_hidden_layers=36,
        num_attention_heads=16, num_key_value_heads=2,
        rope_parameters=dict(rope_type="default", rope_theta=1e6, mrope_section=[16, 24, 24]),
    ),
    vlm_vision=dict(hidden_size=1280, out_hidden_size=2048),
    vlm_image=dict(patch_size=14, size=dict(shortest_edge=3136, longest_edge=12845056)),
    swin=dict(
        image_size=224, embed_dim=96, depths=[2, 2, 18, 2], num_heads=[3, 6, 12, 24],
        window_size=7,
    ),
    frame=dict(long=1333, short=800),
    clip_text=dict(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12
    ),
    clip_vision=dict(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16,
        image_size=224, patch_size=14,
    ),
    clip_width=768,
    needs_gpu=True,
)  # fmt: skip

TINY = Scale(
    name="tiny",
    side=32,
    steps=2,
    tokens=12,
    image_tokens=4,
    answer=4,
    batch_sizes=(4, 4, 4),
    text=dict(
        vocab_size=256, hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, head_dim=8, query_pre_attn_scalar=8,
    ),
    autoencoder=dict(
        latent_channels=4, attention_head_dim=8,
        encoder_block_types="ResBlock", decoder_block_types="ResBlock",
        encoder_block_out_channels=(8, 8, 8), decoder_block_out_channels=(8, 8, 8),
        encoder_layers_per_block=(1, 1, 1), decoder_layers_per_block=(1, 1, 1),
        encoder_qkv_multiscales=((), (), ()), decoder_qkv_multiscales=((), (), ()),
        scaling_factor=0.5,
    ),
    transformer=dict(
        in_channels=4, out_channels=4, num_attention_heads=4, attention_head_dim=8, num_layers=2,
        num_cross_attention_heads=2, cross_attention_head_dim=16, cross_attention_dim=32,
        caption_channels=16, sample_size=8, patch_size=1, vision_feature_dim=16,
    ),
    siglip=dict(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        image_size=16, patch_size=4,
    ),
    vlm_text=dict(
        vocab_size=256, hidden_size=32, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2,
        rope_parameters=dict(rope_type="default", rope_theta=1e4, mrope_section=[1, 1, 2]),
    ),
    vlm_vision=dict(
        depth=2, hidden_size=16, intermediate_size=16, num_heads=2, patch_size=4, window_size=16,
        out_hidden_size=32, fullatt_block_indexes=[1],
    ),
    vlm_image=dict(patch_size=4, size=dict(shortest_edge=64, longest_edge=4096)),
    swin=dict(
        image_size=64, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4
    ),
    mask2former=dict(
        feature_size=32, mask_feature_size=32, hidden_dim=32, encoder_feedforward_dim=16,
        dim_feedforward=16, encoder_layers=1, decoder_layers=2, num_attention_heads=2,
        num_queries=16,
    ),
    frame=dict(long=64, short=64),
    clip_text=dict(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    ),
    clip_vision=dict(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        image_size=16, patch_size=8,
    ),
    clip_width=16,
)  # fmt: skip
"""The same parts at a size that a CPU runs in a moment."""
