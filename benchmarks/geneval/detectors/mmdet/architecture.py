"""Read a Mask2Former's architecture off the shapes of its mmdet tensors.

So that a checkpoint needs no config file beside it: everything that can differ between Swin
Mask2Formers shows in some shape. What shows in none is as in mmdet's config
`mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco`, the official one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from benchmarks.geneval.classes import CLASSES

_LEVELS = 3
"""Scales that deformable attention looks at; fixed in transformers."""
_POINTS = 4
"""Points it samples on each; fixed in transformers."""


def infer_config(state: Mapping[str, Tensor]) -> Any:
    """Return the `transformers.Mask2FormerConfig` of a checkpoint's tensors by mmdet 3.x key.

    The heads of the transformer decoder show in no shape; mmdet's configs and transformers give
    it as many as the pixel decoder has, which does show.

    Raises:
        KeyError: A tensor is missing that every Mask2Former with a Swin backbone has.
        ValueError: The shapes are those of no such network.
    """
    from transformers import Mask2FormerConfig, SwinConfig

    pixel, head = "panoptic_head.pixel_decoder", "panoptic_head"
    decoder = f"{head}.transformer_decoder"
    attention_rows = _rows(state, f"{pixel}.encoder.layers.0.self_attn.attention_weights.weight")
    stages = range(_count(state, "backbone.stages"))
    depths = [_count(state, f"backbone.stages.{stage}.blocks") for stage in stages]
    tables = [
        state[f"backbone.stages.{stage}.blocks.0.attn.w_msa.relative_position_bias_table"]
        for stage in stages
    ]
    embedding = state["backbone.patch_embed.projection.weight"]
    feed_forward = _rows(state, "backbone.stages.0.blocks.0.ffn.layers.0.0.weight")
    swin = SwinConfig(
        patch_size=embedding.shape[-1],
        embed_dim=embedding.shape[0],
        depths=depths,
        num_heads=[table.shape[1] for table in tables],
        window_size=_window(tables[0]),
        mlp_ratio=feed_forward / embedding.shape[0],
        qkv_bias="backbone.stages.0.blocks.0.attn.w_msa.qkv.bias" in state,
        drop_path_rate=0.3,
        out_features=[f"stage{stage + 1}" for stage in stages],
    )
    return Mask2FormerConfig(
        backbone_config=swin,
        feature_size=_rows(state, f"{pixel}.input_convs.0.conv.weight"),
        mask_feature_size=_rows(state, f"{pixel}.mask_feature.weight"),
        hidden_dim=state[f"{head}.query_feat.weight"].shape[1],
        encoder_feedforward_dim=_rows(state, f"{pixel}.encoder.layers.0.ffn.layers.0.0.weight"),
        dim_feedforward=_rows(state, f"{decoder}.layers.0.ffn.layers.0.0.weight"),
        encoder_layers=_count(state, f"{pixel}.encoder.layers"),
        # transformers counts the prediction before the first layer as one.
        decoder_layers=_count(state, f"{decoder}.layers") + 1,
        num_attention_heads=attention_rows // (_LEVELS * _POINTS),
        num_queries=_rows(state, f"{head}.query_feat.weight"),
        id2label=dict(enumerate(CLASSES)),
        label2id={name: index for index, name in enumerate(CLASSES)},
    )


def relative_positions(window: int) -> Tensor:
    """The row of the bias table that each pair of a window's pixels uses, (window², window²).

    Source: Liu et al., "Swin Transformer", arXiv 2103.14030, section 3.2.
    """
    axis = torch.arange(window)
    pixels = torch.cartesian_prod(axis, axis)
    offsets = pixels[:, None] - pixels[None, :] + window - 1
    return offsets[..., 0] * (2 * window - 1) + offsets[..., 1]


def window_of(positions: Tensor) -> int:
    """Side of the window that a matrix of relative positions belongs to."""
    return math.isqrt(positions.shape[0])


def _rows(state: Mapping[str, Tensor], key: str) -> int:
    return state[key].shape[0]


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    """Count the numbered modules right under a prefix."""
    after = len(prefix) + 1
    return len({key[after:].split(".")[0] for key in state if key.startswith(f"{prefix}.")})


def _window(table: Tensor) -> int:
    side = math.isqrt(table.shape[0])
    if side * side != table.shape[0] or side % 2 == 0:
        raise ValueError(f"a relative position table of {table.shape[0]} rows fits no window")
    return (side + 1) // 2
