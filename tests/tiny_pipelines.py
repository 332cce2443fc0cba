"""Small random checkpoints of diffusers' text-to-image pipelines, with what they ask for a draw."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from harness.models.loading import quiet
from tests.random_models import ENDS, make_tokenizer
from tests.sizes import TINY
from tests.tiny import make_pipeline

Settings = dict[str, Any]
FAMILIES: dict[str, tuple[Callable[[], Any], Settings]] = {}
"""By family: what builds its pipeline, and settings of a draw beside the steps."""

SIDE = {"height": 32, "width": 32}


def make_family(name: str, folder: Path, *, seed: int = 0) -> Path:
    """Write a family's pipeline."""
    build, _ = FAMILIES[name]
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(seed)
        pipeline = build()
        if pipeline is None:
            make_pipeline(folder)
        else:
            pipeline.save_pretrained(folder)
    return folder


def family(name: str, **settings: Any) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    def add(build: Callable[[], Any]) -> Callable[[], Any]:
        FAMILIES[name] = (build, {**SIDE, **settings})
        return build

    return add


def words(length: int) -> Any:
    tokenizer = make_tokenizer()
    tokenizer.model_max_length = length
    return tokenizer


def clip(projection: bool = False) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=len(make_tokenizer()),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        projection_dim=32,
        bos_token_id=2,
        eos_token_id=1,
        pad_token_id=0,
    )
    return (CLIPTextModelWithProjection if projection else CLIPTextModel)(config)


def t5() -> Any:
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(
        T5Config(vocab_size=len(make_tokenizer()), d_model=32, d_kv=8, d_ff=32, num_layers=1,
                 num_heads=4)
    )  # fmt: skip


def kl(levels: int = 2) -> Any:
    """An autoencoder of 4 channels; several pipelines take it that there are four levels."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(4, 4, 4, 8)[-levels:],
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        latent_channels=4,
        norm_num_groups=2,
        shift_factor=0.0,
        scaling_factor=1.0,
    )


def flow(**options: Any) -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(**options)


@family("SD 1.5")
def sd15() -> Any:
    from diffusers import PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel

    unet = UNet2DConditionModel(
        block_out_channels=(4, 8),
        layers_per_block=1,
        sample_size=16,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32,
        norm_num_groups=2,
    )
    scheduler = PNDMScheduler(beta_schedule="scaled_linear", skip_prk_steps=True)
    return StableDiffusionPipeline(
        kl(), clip(), words(77), unet, scheduler, None, None, None, False
    )


@family("SDXL")
def sdxl() -> Any:
    from diffusers import (
        EulerDiscreteScheduler,
        StableDiffusionXLPipeline,
        UNet2DConditionModel,
    )

    unet = UNet2DConditionModel(
        block_out_channels=(8, 16),
        layers_per_block=1,
        sample_size=16,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        transformer_layers_per_block=(1, 1),
        projection_class_embeddings_input_dim=80,
        cross_attention_dim=64,
        norm_num_groups=2,
    )
    return StableDiffusionXLPipeline(
        kl(), clip(), clip(True), words(77), words(77), unet,
        EulerDiscreteScheduler(beta_schedule="scaled_linear"),
    )  # fmt: skip


@family("SD 3.5", max_sequence_length=16)
def sd3() -> Any:
    from diffusers import SD3Transformer2DModel, StableDiffusion3Pipeline

    transformer = SD3Transformer2DModel(
        sample_size=16,
        patch_size=1,
        in_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_projection_dim=32,
        joint_attention_dim=64,
        pooled_projection_dim=64,
        out_channels=4,
        qk_norm="rms_norm",
    )
    return StableDiffusion3Pipeline(
        transformer, flow(shift=3.0), kl(), clip(True), words(77), clip(True), words(77),
        t5_wide(), words(77),
    )  # fmt: skip


def t5_wide() -> Any:
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(
        T5Config(vocab_size=len(make_tokenizer()), d_model=64, d_kv=8, d_ff=32, num_layers=1,
                 num_heads=4)
    )  # fmt: skip


def flux(guidance: bool) -> Any:
    from diffusers import FluxPipeline, FluxTransformer2DModel

    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=guidance,
    )
    scheduler = flow(use_dynamic_shifting=guidance)
    return FluxPipeline(scheduler, kl(), clip(), words(77), t5(), words(77), transformer)


@family("FLUX.1 dev", max_sequence_length=16)
def flux_dev() -> Any:
    return flux(True)


@family("FLUX.1 schnell", max_sequence_length=16, guidance_scale=0.0)
def flux_schnell() -> Any:
    return flux(False)


@family("PixArt-Σ", max_sequence_length=16, use_resolution_binning=False, clean_caption=False)
def pixart() -> Any:
    from diffusers import DDIMScheduler, PixArtSigmaPipeline, PixArtTransformer2DModel

    transformer = PixArtTransformer2DModel(
        sample_size=16,
        num_layers=2,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=3,
        caption_channels=32,
        in_channels=4,
        cross_attention_dim=24,
        out_channels=8,
    )
    return PixArtSigmaPipeline(words(77), t5(), kl(), transformer, DDIMScheduler())


@family("SANA", max_sequence_length=16, use_resolution_binning=False)
def sana() -> Any:
    return None


@family("SANA-Sprint", max_sequence_length=16, use_resolution_binning=False)
def sprint() -> Any:
    from diffusers import AutoencoderDC, SanaSprintPipeline, SanaTransformer2DModel, SCMScheduler

    sizes = {k: v for k, v in TINY.transformer.items() if k != "vision_feature_dim"}
    transformer = SanaTransformer2DModel(
        **sizes, qk_norm="rms_norm_across_heads", guidance_embeds=True
    )
    vae = AutoencoderDC(in_channels=3, **TINY.autoencoder)
    scheduler = SCMScheduler(prediction_type="trigflow", sigma_data=0.5)
    return SanaSprintPipeline(words(77), gemma(16), vae, transformer, scheduler)


def gemma(width: int) -> Any:
    from transformers import Gemma2Config, Gemma2Model

    sizes = {**TINY.text, "hidden_size": width, "num_hidden_layers": 2, "sliding_window": 64}
    return Gemma2Model(Gemma2Config(**{**sizes, "vocab_size": len(make_tokenizer())}, **ENDS))


@family("Lumina 2", max_sequence_length=64)
def lumina() -> Any:
    from diffusers import Lumina2Pipeline, Lumina2Transformer2DModel

    transformer = Lumina2Transformer2DModel(
        sample_size=16,
        patch_size=2,
        in_channels=4,
        hidden_size=16,
        num_layers=2,
        num_refiner_layers=1,
        num_attention_heads=2,
        num_kv_heads=1,
        multiple_of=16,
        axes_dim_rope=(4, 2, 2),
        axes_lens=(128, 64, 64),
        cap_feat_dim=16,
    )
    return Lumina2Pipeline(transformer, flow(), kl(4), gemma(16), words(256))


@family("Hunyuan-DiT", use_resolution_binning=False)
def hunyuan() -> Any:
    from diffusers import DDPMScheduler, HunyuanDiT2DModel, HunyuanDiTPipeline
    from transformers import BertConfig, BertModel

    transformer = HunyuanDiT2DModel(
        sample_size=16,
        num_layers=2,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=3,
        in_channels=4,
        cross_attention_dim=32,
        cross_attention_dim_t5=32,
        pooled_projection_dim=16,
        hidden_size=24,
        activation_fn="gelu-approximate",
    )
    bert = BertModel(
        BertConfig(vocab_size=len(make_tokenizer()), hidden_size=32, num_hidden_layers=1,
                   num_attention_heads=4, intermediate_size=32)
    )  # fmt: skip
    return HunyuanDiTPipeline(
        kl(4), bert, words(77), transformer, DDPMScheduler(), None, None, False, t5(), words(256)
    )


@family("CogView 4", max_sequence_length=16)
def cogview() -> Any:
    from diffusers import CogView4Pipeline, CogView4Transformer2DModel
    from transformers import GlmConfig, GlmModel

    transformer = CogView4Transformer2DModel(
        patch_size=2,
        in_channels=4,
        num_layers=2,
        attention_head_dim=4,
        num_attention_heads=4,
        out_channels=4,
        text_embed_dim=32,
        time_embed_dim=8,
        condition_dim=4,
        sample_size=16,
    )
    glm = GlmModel(
        GlmConfig(vocab_size=len(make_tokenizer()), hidden_size=32, intermediate_size=8,
                  num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
                  pad_token_id=0)
    )  # fmt: skip
    scheduler = flow(base_shift=0.25, max_shift=0.75, base_image_seq_len=256,
                     use_dynamic_shifting=True, time_shift_type="linear")  # fmt: skip
    left = words(77)
    left.padding_side = "left"
    return CogView4Pipeline(left, glm, kl(), transformer, scheduler)


@family("Qwen-Image", max_sequence_length=64, negative_prompt=" ")
def qwen() -> Any:
    from diffusers import (
        AutoencoderKLQwenImage,
        QwenImagePipeline,
        QwenImageTransformer2DModel,
    )
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    transformer = QwenImageTransformer2DModel(
        patch_size=2,
        in_channels=16,
        out_channels=4,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        axes_dims_rope=(8, 4, 4),
    )
    vae = AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 2, 2, 2],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    )
    config = Qwen2_5_VLConfig(
        text_config={
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2]},
            "vocab_size": len(make_tokenizer()),
        },
        vision_config={
            "depth": 1,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_heads": 2,
            "out_hidden_size": 16,
        },
    )
    encoder = Qwen2_5_VLForConditionalGeneration(config)
    return QwenImagePipeline(flow(), vae, encoder, words(1024), transformer)
