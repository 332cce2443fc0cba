"""Stage 1: the autoencoder whose latents the base model works in.

The stock pipeline knows one scalar ``scaling_factor``, while diffusion wants every latent channel
at unit variance. So the latents are normalised per channel while training, and the exact mean and
variance are folded into the encoder's last convolution on export: the scaling factor is then 1.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from diffusers import AutoencoderDC
from torch import Tensor, nn

from harness.errors import HarnessError
from harness.miniature.train.data import in_parts, make_pool, to_signed
from harness.miniature.train.loop import Schedule, TrainConfig, bfloat16, fit, write_recipe

CONFIG = {
    "in_channels": 3, "latent_channels": 16,
    # No blocks at full resolution: most of the time would go there, and little of the quality.
    "encoder_block_out_channels": (32, 64, 128, 128),
    "decoder_block_out_channels": (32, 64, 128, 128), "encoder_layers_per_block": (0, 1, 2, 2),
    "decoder_layers_per_block": (0, 2, 2, 2), "encoder_qkv_multiscales": ((), (), (), ()),
    "decoder_qkv_multiscales": ((), (), (), ()), "encoder_block_types": "ResBlock",
    "decoder_block_types": "ResBlock",
    # A shortcut around the encoder's last convolution would stand in the way of folding.
    "encoder_out_shortcut": False, "decoder_in_shortcut": True, "scaling_factor": 1.0,
}  # fmt: skip
SCENES, HELD_OUT = 40_000, 1_000
SCHEDULE = Schedule(steps=1_100, batch=48, lr=1.5e-3, cooldown=0.4, ema=0.995)
NOISE = 0.1
"""Standard deviation of the noise on unit-variance latents, so that near misses decode well."""


class Normalised(nn.Module):
    """An autoencoder with per-channel latent normalisation in the middle."""

    def __init__(self, vae: AutoencoderDC) -> None:
        """Wrap an autoencoder."""
        super().__init__()
        self.vae = vae
        self.norm = nn.BatchNorm2d(vae.config["latent_channels"], affine=False)

    def forward(self, images: Tensor) -> Tensor:
        """Reconstruct images, -1 to 1, (n, 3, 64, 64), with noise on the latents."""
        latents = self.norm(self.vae.encoder(images))
        latents = latents + NOISE * torch.randn_like(latents)
        decoded: Tensor = self.vae.decoder(latents)
        return decoded


def fold(model: Normalised, images: Tensor) -> None:
    """Fold the latents' normalisation, measured on images (-1 to 1), into the encoder, in place.

    The model's ``vae`` then gives latents of unit variance by itself.
    """
    convolution = model.vae.encoder.conv_out
    latents = in_parts(model.vae.encoder, images, 250)
    mean, std = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    with torch.no_grad():
        convolution.weight.div_(std[:, None, None, None])
        convolution.bias.sub_(mean).div_(std)


def measure(vae: AutoencoderDC, images: Tensor) -> dict[str, float]:
    """Peak signal-to-noise ratio in dB of reconstructing images, -1 to 1."""
    decoded = in_parts(lambda part: vae.decode(vae.encode(part).latent).sample, images, 250)
    return _psnr(decoded.clamp(-1, 1) - images)


def _psnr(error: Tensor) -> dict[str, float]:
    return {"psnr_db": round(10 * math.log10(4 / float(error.square().mean())), 3)}


def trained_folder(setting: TrainConfig) -> Path:
    """Return the folder of the trained autoencoder.

    Raises:
        HarnessError: It is not trained yet.
    """
    folder = setting.out / "base" / "vae"
    if not (folder / "config.json").exists():
        raise HarnessError(
            f"there is no autoencoder in {folder}", "train the stage autoencoder first"
        )
    return folder


def load(setting: TrainConfig) -> AutoencoderDC:
    """Load the trained autoencoder in float32 (see `trained_folder`)."""
    folder = trained_folder(setting)
    vae = AutoencoderDC.from_pretrained(folder, torch_dtype=torch.float32)
    loaded: AutoencoderDC = vae.to(setting.device, memory_format=torch.channels_last).eval()
    return loaded


def train(setting: TrainConfig, schedule: Schedule = SCHEDULE) -> None:
    """Train and export to ``out/base/vae``."""
    pool = make_pool(setting.count(SCENES), setting.seed + 1, free=0.5)
    held_out = make_pool(setting.count(HELD_OUT), setting.seed + 2)
    unseen = to_signed(held_out.images).to(setting.device)
    torch.manual_seed(setting.seed)
    model = Normalised(AutoencoderDC(**CONFIG)).to(setting.device)
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    reconstruct = torch.compile(model) if setting.compile else model

    def loss_of(rows: Tensor) -> Tensor:
        images = to_signed(pool.images[rows]).to(setting.device)
        # Objects are a sixth of the area and all of the meaning.
        weight = 1 + 2 * (pool.foreground[rows] > 0).float().to(setting.device)[:, None]
        images = images.contiguous(memory_format=torch.channels_last)
        with bfloat16(setting.device):
            error = reconstruct(images).float() - images
        loss: Tensor = ((error.square() + 0.3 * error.abs()) * weight).mean()
        return loss

    def held() -> dict[str, float]:
        with torch.no_grad():
            return _psnr(model(unseen[:250]) - unseen[:250])

    recipe = fit(model, loss_of, len(pool), schedule, setting, "autoencoder", measure=held)
    fold(model, to_signed(pool.images[:4000]).to(setting.device))
    folder = setting.out / "base" / "vae"
    metric = measure(model.vae, unseen)
    model.vae.to(torch.float16).save_pretrained(folder)
    write_recipe(
        folder, recipe,
        scenes=len(pool), held_out_scenes=len(held_out), held_out=metric, latent_noise=NOISE,
    )  # fmt: skip
