"""The names of Mask2Former's tensors in mmdet, and in transformers' public checkpoints.

Two columns, mmdet 3.x on the left; `*` stands for a number, the same on both sides. mmdet 2.x
says a few things differently and is put into 3.x words first. Modules that need more than a new
name (fused projections, patch merging) are not here but in `convert`.
"""

from __future__ import annotations

import re

_OLD_WORDS = (
    (re.compile(r"(pixel_decoder\.encoder\.layers\.\d+\.)attentions\.0\."), r"\1self_attn."),
    (re.compile(r"(transformer_decoder\.layers\.\d+\.)attentions\.0\."), r"\1cross_attn."),
    (re.compile(r"(transformer_decoder\.layers\.\d+\.)attentions\.1\."), r"\1self_attn."),
    (re.compile(r"(layers\.\d+\.)ffns\.0\."), r"\1ffn."),
)

BLOCK = "backbone.stages.*.blocks.*"
MERGE = "backbone.stages.*.downsample"
PIXEL = "panoptic_head.pixel_decoder"
PIXEL_LAYER = f"{PIXEL}.encoder.layers.*"
LAYER = "panoptic_head.transformer_decoder.layers.*"

_SWIN = "model.pixel_level_module.encoder"
_SWIN_BLOCK = f"{_SWIN}.encoder.layers.*.blocks.*"
_PIXEL = "model.pixel_level_module.decoder"
_PIXEL_LAYER = f"{_PIXEL}.encoder.layers.*"
_QUERIES = "model.transformer_module"
_LAYER = f"{_QUERIES}.decoder.layers.*"

TABLE: dict[str, str] = {
    # The Swin backbone.
    "backbone.patch_embed.projection": f"{_SWIN}.embeddings.patch_embeddings.projection",
    "backbone.patch_embed.norm": f"{_SWIN}.embeddings.norm",
    f"{BLOCK}.norm1": f"{_SWIN_BLOCK}.layernorm_before",
    f"{BLOCK}.attn.w_msa": f"{_SWIN_BLOCK}.attention.self",
    f"{BLOCK}.attn.w_msa.proj": f"{_SWIN_BLOCK}.attention.output.dense",
    f"{BLOCK}.norm2": f"{_SWIN_BLOCK}.layernorm_after",
    f"{BLOCK}.ffn.layers.0.0": f"{_SWIN_BLOCK}.intermediate.dense",
    f"{BLOCK}.ffn.layers.1": f"{_SWIN_BLOCK}.output.dense",
    f"{MERGE}.norm": f"{_SWIN}.encoder.layers.*.downsample.norm",
    f"{MERGE}.reduction": f"{_SWIN}.encoder.layers.*.downsample.reduction",
    "backbone.norm0": f"{_SWIN}.hidden_states_norms.stage1",
    "backbone.norm1": f"{_SWIN}.hidden_states_norms.stage2",
    "backbone.norm2": f"{_SWIN}.hidden_states_norms.stage3",
    "backbone.norm3": f"{_SWIN}.hidden_states_norms.stage4",
    # The pixel decoder: deformable attention over three scales, then one step up to the fourth.
    f"{PIXEL}.input_convs.*.conv": f"{_PIXEL}.input_projections.*.0",
    f"{PIXEL}.input_convs.*.gn": f"{_PIXEL}.input_projections.*.1",
    f"{PIXEL_LAYER}.self_attn.sampling_offsets": f"{_PIXEL_LAYER}.self_attn.sampling_offsets",
    f"{PIXEL_LAYER}.self_attn.attention_weights": f"{_PIXEL_LAYER}.self_attn.attention_weights",
    f"{PIXEL_LAYER}.self_attn.value_proj": f"{_PIXEL_LAYER}.self_attn.value_proj",
    f"{PIXEL_LAYER}.self_attn.output_proj": f"{_PIXEL_LAYER}.self_attn.output_proj",
    f"{PIXEL_LAYER}.norms.0": f"{_PIXEL_LAYER}.self_attn_layer_norm",
    f"{PIXEL_LAYER}.ffn.layers.0.0": f"{_PIXEL_LAYER}.fc1",
    f"{PIXEL_LAYER}.ffn.layers.1": f"{_PIXEL_LAYER}.fc2",
    f"{PIXEL_LAYER}.norms.1": f"{_PIXEL_LAYER}.final_layer_norm",
    f"{PIXEL}.level_encoding": f"{_PIXEL}.level_embed",
    f"{PIXEL}.lateral_convs.0.conv": f"{_PIXEL}.adapter_1.0",
    f"{PIXEL}.lateral_convs.0.gn": f"{_PIXEL}.adapter_1.1",
    f"{PIXEL}.output_convs.0.conv": f"{_PIXEL}.layer_1.0",
    f"{PIXEL}.output_convs.0.gn": f"{_PIXEL}.layer_1.1",
    f"{PIXEL}.mask_feature": f"{_PIXEL}.mask_projection",
    # The transformer decoder: masked cross-attention, self-attention, feed-forward.
    f"{LAYER}.cross_attn.attn": f"{_LAYER}.cross_attn",
    f"{LAYER}.cross_attn.attn.out_proj": f"{_LAYER}.cross_attn.out_proj",
    f"{LAYER}.norms.0": f"{_LAYER}.cross_attn_layer_norm",
    f"{LAYER}.self_attn.attn": f"{_LAYER}.self_attn",
    f"{LAYER}.self_attn.attn.out_proj": f"{_LAYER}.self_attn.out_proj",
    f"{LAYER}.norms.1": f"{_LAYER}.self_attn_layer_norm",
    f"{LAYER}.ffn.layers.0.0": f"{_LAYER}.fc1",
    f"{LAYER}.ffn.layers.1": f"{_LAYER}.fc2",
    f"{LAYER}.norms.2": f"{_LAYER}.final_layer_norm",
    "panoptic_head.transformer_decoder.post_norm": f"{_QUERIES}.decoder.layernorm",
    # The queries and what is read from them.
    "panoptic_head.query_embed": f"{_QUERIES}.queries_embedder",
    "panoptic_head.query_feat": f"{_QUERIES}.queries_features",
    "panoptic_head.level_embed": f"{_QUERIES}.level_embed",
    "panoptic_head.mask_embed.0": f"{_QUERIES}.decoder.mask_predictor.mask_embedder.0.0",
    "panoptic_head.mask_embed.2": f"{_QUERIES}.decoder.mask_predictor.mask_embedder.1.0",
    "panoptic_head.mask_embed.4": f"{_QUERIES}.decoder.mask_predictor.mask_embedder.2.0",
    "panoptic_head.cls_embed": "class_predictor",
}
"""Module names; a tensor's own name (weight, bias, …) is kept."""

LEAVES = {f"{_PIXEL}.level_embed.weight": f"{_PIXEL}.level_embed"}
"""Tensors whose own name changes too."""


def modernise(key: str) -> str:
    """Put an mmdet 2.x key into 3.x words; a 3.x key stays as it is."""
    for old, new in _OLD_WORDS:
        key = old.sub(new, key)
    return key


def renamed(key: str) -> str | None:
    """Return transformers' name of an mmdet 3.x key, or None if the table does not know it."""
    module, _, leaf = key.rpartition(".")
    numbers: list[str] = []
    for source, target in TABLE.items():
        # Numbers that the table spells out ("mask_embed.2") must match as they are.
        match = re.fullmatch(re.escape(source).replace(r"\*", r"(\d+)"), module)
        if match:
            numbers = list(match.groups())
            for number in numbers:
                target = target.replace("*", number, 1)
            name = f"{target}.{leaf}"
            return LEAVES.get(name, name)
    return None
