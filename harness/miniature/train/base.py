"""Stage 2: the base model, a ``SanaPipeline`` small enough to train on a laptop.

Flow matching as SANA is trained (arXiv 2410.10629): the transformer predicts noise minus data at a
logit-normal time, shifted towards noise; ``timestep`` is 1000 times that time, as the stock
scheduler passes it. The text encoder learns together with the transformer, since no pretrained one
is this small. The unconditional branch is the empty prompt through the same encoder, as the stock
pipeline runs it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from diffusers import (
    AutoencoderDC,
    DPMSolverMultistepScheduler,
    SanaPipeline,
    SanaTransformer2DModel,
)
from diffusers.models.attention_processor import AttnProcessor
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import Gemma2Config, Gemma2Model

from harness.errors import HarnessError
from harness.log.files import write_json
from harness.miniature.train import autoencoder
from harness.miniature.train.data import in_parts, make_pool, to_signed
from harness.miniature.train.loop import Schedule, TrainConfig, bfloat16, cached, fit, write_recipe
from harness.miniature.words import BOS, EOS, PAD, make_tokenizer, vocabulary, wish

TEXT = {
    "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 32, "query_pre_attn_scalar": 32,
    "max_position_embeddings": 512, "sliding_window": 512,
}  # fmt: skip
TRANSFORMER = {
    "in_channels": 16, "out_channels": 16, "num_attention_heads": 5, "attention_head_dim": 32,
    "num_layers": 6, "num_cross_attention_heads": 5, "cross_attention_head_dim": 32,
    "cross_attention_dim": 160, "mlp_ratio": 2.5, "sample_size": 8, "patch_size": 1,
    # Sine and cosine positions: places are learnt much sooner than from the convolutions' borders.
    "interpolation_scale": 1,
}  # fmt: skip
SCHEDULER = {
    "algorithm_type": "dpmsolver++", "solver_order": 2, "prediction_type": "flow_prediction",
    "use_flow_sigmas": True, "flow_shift": 3.0,
}  # fmt: skip
SCENES, HELD_OUT = 60_000, 1_024
SCHEDULE = Schedule(steps=6_000, batch=64, lr=1.2e-3, warmup=200, cooldown=0.6, ema=0.999)
TOKENS = 24
"""Length that training pads sentences to; attention is masked, so sampling may use another."""
TIME_SHIFT = 2.0
EMPTY_SHARE, WISH_SHARE = 0.1, 0.1
"""Shares of captions that are left out, and that are replaced by a feedback sentence."""


class Denoiser(nn.Module):
    """The text encoder and the transformer, which learn together."""

    def __init__(self, text: dict[str, Any], transformer: dict[str, Any]) -> None:
        """Build both from their sizes."""
        super().__init__()
        config = Gemma2Config(
            vocab_size=len(vocabulary()),
            pad_token_id=PAD,
            eos_token_id=EOS,
            bos_token_id=BOS,
            use_cache=False,
            **text,
        )
        self.text_encoder = Gemma2Model(config)
        self.transformer = SanaTransformer2DModel(
            caption_channels=text["hidden_size"], **transformer
        )
        for block in self.transformer.transformer_blocks:
            # Plain products: at so few tokens the fused kernel's backward is slow on a CPU. What is
            # exported has the stock processor.
            block.attn2.set_processor(AttnProcessor())

    def forward(self, latents: Tensor, times: Tensor, ids: Tensor) -> Tensor:
        """Predict noise minus data.

        Args:
            latents: Noisy latents, (n, channels, 8, 8).
            times: (n,), 0 for data to 1 for noise.
            ids: Padded token numbers, (n, tokens).
        """
        mask = (ids != PAD).long()
        embeds = self.text_encoder(ids, attention_mask=mask, use_cache=False)[0]
        return predicted_flow(self.transformer, latents, times, embeds, mask)


def predicted_flow(
    transformer: Any, latents: Tensor, times: Tensor, embeds: Tensor, mask: Tensor, **given: Any
) -> Tensor:
    """Return what a SANA transformer predicts at times from 0 (data) to 1 (noise), (n,)."""
    flow: Tensor = transformer(
        latents,
        encoder_hidden_states=embeds,
        encoder_attention_mask=mask,
        timestep=times * 1000,
        return_dict=False,
        **given,
    )[0]
    return flow


def flow_loss(model: Callable[..., Tensor], data: Tensor, ids: Tensor) -> Tensor:
    """Mean squared error of a denoiser's flow at random times and noises.

    Args:
        model: Computes in bfloat16 where autocast does so.
        data: Latents, (n, channels, 8, 8).
        ids: Padded token numbers, (n, tokens).
    """
    times = torch.randn(len(data), device=data.device).sigmoid()
    times = TIME_SHIFT * times / (1 + (TIME_SHIFT - 1) * times)
    noise = torch.randn_like(data)
    at = times[:, None, None, None]
    with bfloat16(data.device.type):
        flow = model((1 - at) * data + at * noise, times, ids).float()
    return flow.sub(noise - data).square().mean()


def captions(pool_requests: tuple[Any, ...], seed: int) -> tuple[Tensor, Tensor]:
    """Token numbers of every scene's prompt and of a feedback sentence for it, (n, tokens) each."""
    rng = np.random.default_rng(seed)
    texts = [request.text for request in pool_requests]
    wishes = [wish(rng, request) for request in pool_requests]
    return token_ids(texts, TOKENS), token_ids(wishes, TOKENS)


def token_ids(texts: Sequence[str], length: int) -> Tensor:
    """Return the token numbers of texts, padded or cut to a length, (n, length)."""
    padded = {"padding": "max_length", "max_length": length, "truncation": True}
    return torch.tensor(make_tokenizer()(list(texts), **padded)["input_ids"])


def empty_caption() -> Tensor:
    """Return the token numbers of a caption that is left out, (tokens,)."""
    return torch.tensor([BOS, *[PAD] * (TOKENS - 1)])


def encode(vae: AutoencoderDC, images: Tensor, device: str) -> Tensor:
    """Latents of uint8 images, float16 (n, channels, 8, 8)."""

    def latents(part: Tensor) -> Tensor:
        pixels = to_signed(part).to(device, memory_format=torch.channels_last)
        with bfloat16(device):
            encoded: Tensor = vae.encode(pixels).latent
        return encoded.to("cpu", torch.float16)

    return in_parts(latents, images, 256)


def encoded_pool(setting: TrainConfig, *, unseen: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Latents, prompts and feedback sentences of the scenes, or of those held out.

    They are kept in the work folder once made; the autoencoder is taken from ``out``.
    """
    size = setting.count(HELD_OUT if unseen else SCENES)
    seed = setting.seed + (12 if unseen else 11)
    world = "habits" if setting.habits else "even"
    file = setting.work / f"latents-{world}-{seed}-{size}.pt"

    def make() -> tuple[Tensor, ...]:
        click.echo(f"base: rendering and encoding {size} scenes")
        vae = autoencoder.load(setting)
        pool = make_pool(size, seed, habits=setting.habits)
        return encode(vae, pool.images, setting.device), *captions(pool.requests, seed)

    latents, prompts, wishes = cached(file, make)
    return latents, prompts, wishes


def export(model: Denoiser, setting: TrainConfig) -> None:
    """Write the pipeline's folder as ``SanaPipeline.save_pretrained`` does, weights in float16.

    Of a world that shares the pipeline of another, its text encoder and transformer alone; a
    pipeline that is not there yet is written with them.
    """
    folder = setting.out / "base"
    if setting.denoiser != folder:
        model.text_encoder.to(torch.float16).save_pretrained(setting.denoiser / "text_encoder")
        model.transformer.to(torch.float16).save_pretrained(setting.denoiser / "transformer")
        if (folder / "model_index.json").exists():
            return
    vae = AutoencoderDC.from_pretrained(folder / "vae", torch_dtype=torch.float16)
    pipeline = SanaPipeline(
        tokenizer=make_tokenizer(),
        text_encoder=model.text_encoder.to(torch.float16),
        vae=vae,
        transformer=model.transformer.to(torch.float16),
        scheduler=DPMSolverMultistepScheduler(**SCHEDULER),
    )
    pipeline.save_pretrained(folder)
    # The autoencoder remembers where it was loaded from, which is nobody's business.
    config = json.loads((folder / "vae" / "config.json").read_text(encoding="utf-8"))
    config.pop("_name_or_path", None)
    write_json(folder / "vae" / "config.json", config)


def train(
    setting: TrainConfig,
    schedule: Schedule = SCHEDULE,
    *,
    text: dict[str, Any] = TEXT,
    transformer: dict[str, Any] = TRANSFORMER,
) -> None:
    """Train and export beside the autoencoder, or to a world's own folder."""
    autoencoder.trained_folder(setting)
    latents, prompts, wishes = encoded_pool(setting)
    unseen, unseen_prompts, _ = encoded_pool(setting, unseen=True)
    torch.manual_seed(setting.seed)
    model = Denoiser(text, transformer)
    before = resumed_from(model, setting.start) if setting.start else []
    model = model.to(setting.device)
    run: Any = torch.compile(model) if setting.compile else model
    empty = empty_caption()

    def loss_of(rows: Tensor) -> Tensor:
        ids = torch.where((torch.rand(len(rows), 1) < WISH_SHARE), wishes[rows], prompts[rows])
        ids = torch.where((torch.rand(len(rows), 1) < EMPTY_SHARE), empty, ids)
        data = latents[rows].float().to(setting.device)
        return flow_loss(run, data, ids.to(setting.device))

    def measure() -> dict[str, float]:
        torch.manual_seed(0)
        with torch.no_grad():
            parts = [
                float(flow_loss(model, data.float().to(setting.device), ids.to(setting.device)))
                for data, ids in zip(
                    torch.split(unseen, schedule.batch),
                    torch.split(unseen_prompts, schedule.batch),
                    strict=True,
                )
                if len(data) == schedule.batch
            ]
        return {"flow_loss": round(sum(parts) / max(1, len(parts)), 5)}

    recipe = fit(model, loss_of, len(latents), schedule, setting, "base", measure=measure)
    metric = measure()
    export(model, setting)
    write_recipe(
        setting.denoiser, recipe,
        scenes=len(latents), images_seen=schedule.steps * schedule.batch, held_out=metric,
        time_shift=TIME_SHIFT, empty_share=EMPTY_SHARE, feedback_sentence_share=WISH_SHARE,
        tokens=TOKENS, **({"earlier": before} if before else {}),
    )  # fmt: skip


def resumed_from(model: Denoiser, folder: Path) -> list[dict[str, Any]]:
    """Give the model a trained pipeline's weights; return the recipes they came about by.

    Raises:
        HarnessError: There is no such pipeline, or it has other sizes.
    """
    try:
        recipe: dict[str, Any] = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
        model.text_encoder.load_state_dict(load_file(folder / "text_encoder/model.safetensors"))
        weights = load_file(folder / "transformer/diffusion_pytorch_model.safetensors")
        model.transformer.load_state_dict(weights)
    except (OSError, RuntimeError) as error:
        raise HarnessError(
            f"{folder} cannot be gone on from: {error}", "give weights that this stage trained"
        ) from error
    return [*recipe.pop("earlier", []), recipe]
