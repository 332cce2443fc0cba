"""The FLOPs of a SANA generation, counted on weightless copies of its own modules.

The copies live on torch's meta device: shapes flow through the real forward code, nothing is
computed, so counting a 1.6-billion-parameter model takes a second on any CPU.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.flops import count
from harness.models.loading import explained, quiet, read_json
from harness.models.sana_loading import component

if TYPE_CHECKING:
    from diffusers import SanaPipeline


ONE_CALL_A_STEP = ("DPMSolverMultistepScheduler", "FlowMatchEulerDiscreteScheduler")
"""Samplers that evaluate the network once a step."""


class Configured:
    """The networks of a SANA pipeline's folder without weights, as far as counting needs them.

    Args:
        folder: The pipeline.
        transformer: The transformer's folder, where it is another one.
        components: A folder whose parts take the place of the pipeline's.
    """

    def __init__(
        self, folder: Path, transformer: Path | None = None, components: Path | None = None
    ) -> None:
        import torch
        from diffusers import AutoencoderDC, SanaTransformer2DModel
        from transformers import AutoConfig, AutoModel

        own = transformer or component(folder, components, "transformer")
        with torch.device("meta"), quiet(), explained(folder, "configuration"):
            # A Reflect-DiT's further parts are at work only where there is feedback.
            known = dict(SanaTransformer2DModel.load_config(own))
            self.transformer: Any = SanaTransformer2DModel.from_config(
                {**known, "_class_name": SanaTransformer2DModel.__name__}
            )
            self.vae: Any = AutoencoderDC.from_config(AutoencoderDC.load_config(folder / "vae"))
            encoder = AutoConfig.from_pretrained(
                component(folder, components, "text_encoder"), local_files_only=True
            )
            self.text_encoder: Any = AutoModel.from_config(encoder)
        self.vae_scale_factor = 2 ** (len(self.vae.config.encoder_block_out_channels) - 1)
        scheduler = read_json(folder / "scheduler" / "scheduler_config.json")
        self.one_call_a_step = scheduler.get("_class_name") in ONE_CALL_A_STEP


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
