"""What the networks of a checkpoint take, from its configuration files alone.

Networks are built without weights (torch's meta device) by the libraries' own classes, so this
needs a second and no memory whatever their size.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch

from harness.models.loading import quiet
from tests.reference.operations import operations

ONE_CALL_A_STEP = ("DPMSolverMultistepScheduler", "FlowMatchEulerDiscreteScheduler")
"""Samplers that evaluate the network once a step."""


def _read(file: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return result


class SanaNetworks:
    """The three networks of a SANA pipeline's folder.

    Args:
        folder: The pipeline.
        transformer: The transformer's folder, where it is another one.
    """

    def __init__(self, folder: Path, transformer: Path | None = None) -> None:
        self._folder = folder
        self._transformer = _read((transformer or folder / "transformer") / "config.json")
        self._vae = _read(folder / "vae" / "config.json")
        self.denoising = cache(self._denoising)
        self.decoding = cache(self._decoding)
        self.encoding = cache(self._encoding)

    @property
    def calls_a_step(self) -> int | None:
        """How often its sampler evaluates the network in a step; None if that is not known."""
        kind = _read(self._folder / "scheduler" / "scheduler_config.json").get("_class_name")
        return 1 if kind in ONE_CALL_A_STEP else None

    def instruction_tokens(self, instruction: str) -> int:
        """Tokens that an instruction puts before a prompt."""
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(self._folder / "tokenizer", local_files_only=True)
        return len(tokenizer.encode(instruction)) - 2

    def _shape(self, height: int, width: int) -> tuple[int, int, int]:
        side = 2 ** (len(self._vae["encoder_block_out_channels"]) - 1)
        return self._transformer["in_channels"], height // side, width // side

    def _denoising(self, height: int, width: int, tokens: int) -> float:
        """One evaluation of the transformer for one row."""
        from diffusers import SanaTransformer2DModel

        # What Reflect-DiT's configuration has besides is of no use here, and not worth a warning.
        with torch.device("meta"), quiet():
            known = dict(self._transformer, _class_name="SanaTransformer2DModel")
            model: Any = SanaTransformer2DModel.from_config(known)
            latents = torch.empty(1, *self._shape(height, width))
            words = torch.empty(1, tokens, self._transformer["caption_channels"])
            time = torch.zeros(1)
        return operations(lambda: model(latents, encoder_hidden_states=words, timestep=time))

    def _decoding(self, height: int, width: int) -> float:
        """Decoding one image."""
        from diffusers import AutoencoderDC

        with torch.device("meta"):
            model: Any = AutoencoderDC.from_config(self._vae)
            latents = torch.empty(1, *self._shape(height, width))
        return operations(lambda: model.decode(latents))

    def _encoding(self, tokens: int) -> float:
        """Encoding one prompt of so many tokens, padding included."""
        from transformers import AutoConfig, AutoModel

        config = AutoConfig.from_pretrained(self._folder / "text_encoder", local_files_only=True)
        with torch.device("meta"):
            model = AutoModel.from_config(config, attn_implementation="eager").eval()
            ids = torch.zeros(1, tokens, dtype=torch.long)
            mask = torch.zeros(1, 1, tokens, tokens)
        return operations(lambda: model(ids, attention_mask=mask, use_cache=False))
