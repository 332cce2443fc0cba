"""The parts of full-size models at a size that a CPU runs in a moment."""

from __future__ import annotations

from harness.bench.sizes import Scale

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
