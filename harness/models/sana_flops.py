"""What a SANA generation costs in FLOPs, counted on weightless copies of its own modules.

The copies live on torch's meta device: shapes flow through the real forward code, nothing is
computed, so counting a 1.6-billion-parameter model takes a second on any CPU.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from harness.flops import count

if TYPE_CHECKING:
    from diffusers import SanaPipeline


def denoising(
    pipeline: SanaPipeline, *, rows: int, height: int, width: int, tokens: int, context: int = 0
) -> float:
    """FLOPs of one call of the transformer.

    Args:
        pipeline: Its `transformer` is what is counted.
        rows: Rows of the call (2 for one guided image).
        height: Image height in pixels.
        width: Image width in pixels.
        tokens: Prompt tokens attended to.
        context: Feedback tokens attended to; only Reflect-DiT's transformer takes any.
    """
    import torch

    with torch.device("meta"):
        model = bare(pipeline.transformer)
        latents = torch.empty(rows, *_latent_shape(pipeline, height, width))
        prompt = torch.empty(rows, tokens, model.config.caption_channels)
        mask = torch.ones(rows, tokens)
        time = torch.zeros(rows)
        further = {"context": model.blank_context(rows, context)} if context else None
    return count(
        lambda: model(
            latents,
            encoder_hidden_states=prompt,
            encoder_attention_mask=mask,
            timestep=time,
            attention_kwargs=further,
        )
    )


def decoding(pipeline: SanaPipeline, *, height: int, width: int) -> float:
    """FLOPs of decoding one image's latents."""
    import torch

    with torch.device("meta"):
        model = bare(pipeline.vae)
        latents = torch.empty(1, *_latent_shape(pipeline, height, width))
    return count(lambda: model.decode(latents))


def encoding(pipeline: SanaPipeline, *, tokens: int) -> float:
    """FLOPs of encoding one prompt, padded to so many tokens."""
    import torch

    with torch.device("meta"):
        model: Any = type(pipeline.text_encoder)(pipeline.text_encoder.config).eval()
        ids = torch.zeros(1, tokens, dtype=torch.long)
        # A ready-made 4D mask: building one from a 2D mask would look at values.
        mask = torch.zeros(1, 1, tokens, tokens)
    return count(lambda: model(ids, attention_mask=mask, use_cache=False))


def _latent_shape(pipeline: SanaPipeline, height: int, width: int) -> tuple[int, int, int]:
    scale = pipeline.vae_scale_factor
    return pipeline.transformer.config.in_channels, height // scale, width // scale


def bare(model: Any) -> Any:
    """A weightless copy of a diffusers model, on the device in force."""
    # A config read from a file may hold fields that the class ignores and warns about.
    known = inspect.signature(type(model).__init__).parameters
    config = {name: value for name, value in model.config.items() if name in known}
    return type(model)(**config).eval()
