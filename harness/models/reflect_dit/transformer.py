"""Reflect-DiT's transformer: diffusers' SANA transformer, whose captions are joined by feedback.

Feedback images and sentences are projected to the transformer's width, pass two context blocks
under the same timestep modulation as the main blocks, and stand behind the caption tokens in
every cross-attention. Everything else is the stock forward pass, and without feedback there is
nothing else. Names and shapes of the weights are those of the published checkpoint.

Source: Li et al., arXiv 2503.12271, section 3, and the public checkpoint's configuration.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from inspect import signature
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import SanaTransformer2DModel
from diffusers.configuration_utils import register_to_config
from diffusers.models.attention_processor import Attention
from diffusers.models.embeddings import PixArtAlphaTextProjection, apply_rotary_emb
from diffusers.models.normalization import RMSNorm
from torch import nn

from harness.models.reflect_dit.context import Context

STOCK = dict(list(signature(SanaTransformer2DModel.__init__).parameters.items())[1:])
"""The arguments of SANA's transformer, without `self`."""

PUBLISHED = {
    "guidance_embeds": False,
    "reflection": True,
    "reflection_mode": "vanilla",
    "context_qk_norm": None,
}
"""Arguments of which no other value was published."""

Rotary = tuple[torch.Tensor, torch.Tensor]
"""Cosines and sines by position, (positions, head size) each."""


def _with_stock_arguments(init: Any) -> Any:
    """Name SANA's arguments in the signature, by which diffusers knows the fields of a config."""
    own = signature(init)
    parameters = list(own.parameters.values())
    init.__signature__ = own.replace(parameters=[parameters[0], *STOCK.values(), *parameters[1:-1]])
    return init


class SanaTransformer2DModelWithContext(SanaTransformer2DModel):  # type: ignore[misc]
    """SANA's transformer with feedback (the class name is the published checkpoint's).

    Beside the arguments of `SanaTransformer2DModel` it takes `vision_feature_dim`, the channels
    of the vision encoder, and `num_reflection_transformer_layers`, the number of context blocks.

    Raises:
        ValueError: A configuration of another kind of Reflect-DiT.
    """

    _no_split_modules = (*SanaTransformer2DModel._no_split_modules, "ContextBlock")

    @register_to_config  # type: ignore[untyped-decorator]
    @_with_stock_arguments
    def __init__(
        self,
        *,
        reflection: bool = True,
        vision_feature_dim: int = 1024,
        num_reflection_transformer_layers: int = 2,
        reflection_mode: str = "vanilla",
        context_qk_norm: str | None = None,
        **stock: Any,
    ) -> None:
        config = self.config  # all arguments, defaults included
        unknown = {name: config[name] for name, own in PUBLISHED.items() if config[name] != own}
        if unknown:
            raise ValueError(f"no such Reflect-DiT was published: {unknown}")
        super().__init__(**{name: config[name] for name in STOCK})
        width = config.num_attention_heads * config.attention_head_dim
        self.clip_projection = PixArtAlphaTextProjection(vision_feature_dim, width)
        self.clip_norm = RMSNorm(width, eps=1e-5)
        self.reflection_text_projection = PixArtAlphaTextProjection(config.caption_channels, width)
        self.reflection_text_norm = RMSNorm(width, eps=1e-5)
        self.reflection_transformer = nn.ModuleList(
            ContextBlock(
                width,
                heads=config.num_cross_attention_heads,
                head_dim=config.cross_attention_head_dim,
                mlp_width=int(width * config.mlp_ratio),
                eps=config.norm_eps,
            )
            for _ in range(num_reflection_transformer_layers)
        )
        self.reflection_norm = RMSNorm(width, eps=1e-5)
        nn.init.zeros_(self.reflection_norm.weight)

    def embed_image(self, features: torch.Tensor) -> torch.Tensor:
        """A vision encoder's pooled features as context tokens: (tokens, vision channels) in."""
        embedded: torch.Tensor = self.clip_norm(self.clip_projection(features.to(self.dtype)))
        return embedded

    def embed_sentence(self, features: torch.Tensor) -> torch.Tensor:
        """A text encoder's features as context tokens: (tokens, caption channels) in."""
        projected = self.reflection_text_projection(features.to(self.dtype))
        embedded: torch.Tensor = self.reflection_text_norm(projected)
        return embedded

    def forward(
        self,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        timestep: torch.Tensor,
        encoder_attention_mask: torch.Tensor | None = None,
        attention_kwargs: Mapping[str, Any] | None = None,
        **others: Any,
    ) -> Any:
        """The stock forward pass; feedback comes as `attention_kwargs={"context": Context}`.

        That is the one argument which the stock pipeline passes through as it is.
        """
        kwargs = dict(attention_kwargs or {})
        context: Context | None = kwargs.pop("context", None)
        inputs = {
            "encoder_hidden_states": encoder_hidden_states,
            "timestep": timestep,
            "encoder_attention_mask": encoder_attention_mask,
            "attention_kwargs": kwargs or None,
            **others,
        }
        if context is None:
            return super().forward(hidden_states, **inputs)
        if encoder_attention_mask is None:
            encoder_attention_mask = torch.ones(
                encoder_hidden_states.shape[:2], device=hidden_states.device
            )
        inputs["encoder_attention_mask"] = torch.cat(
            [encoder_attention_mask, context.mask.to(encoder_attention_mask.dtype)], dim=1
        )
        tokens = self._context_tokens(context, timestep, hidden_states.dtype)
        # The stock pass has no door between the captions' norm and the blocks; this is one.
        door = self.caption_norm.register_forward_hook(
            lambda _module, _inputs, captions: torch.cat([captions, tokens], dim=1)
        )
        try:
            return super().forward(hidden_states, **inputs)
        finally:
            door.remove()

    def _context_tokens(
        self, context: Context, timestep: torch.Tensor, dtype: torch.dtype
    ) -> torch.Tensor:
        tokens = context.tokens.to(dtype)
        rows, length, _ = tokens.shape
        modulation, _ = self.time_embed(timestep, batch_size=rows, hidden_dtype=dtype)
        rotary = rotary_positions(
            length, self.config.cross_attention_head_dim, tokens.device, self.dtype
        )
        attended = context.span[:, None, None, :]
        for block in self.reflection_transformer:
            tokens = block(tokens, modulation, rotary, attended)
        normed: torch.Tensor = self.reflection_norm(tokens)
        return normed


class ContextBlock(nn.Module):
    """Self-attention with rotary positions and a SwiGLU MLP, both modulated by the timestep."""

    def __init__(self, width: int, *, heads: int, head_dim: int, mlp_width: int, eps: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False, eps=eps)
        self.attn1 = Attention(
            query_dim=width,
            heads=heads,
            dim_head=head_dim,
            bias=False,
            out_bias=True,
            processor=RotaryAttnProcessor(),
        )
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False, eps=eps)
        self.ff = SwiGLU(width, mlp_width)
        self.scale_shift_table = nn.Parameter(torch.randn(6, width) / width**0.5)

    def forward(
        self,
        tokens: torch.Tensor,
        modulation: torch.Tensor,
        rotary: Rotary,
        attended: torch.Tensor,
    ) -> torch.Tensor:
        """One block.

        Args:
            tokens: (rows, length, width).
            modulation: The main blocks' timestep vector, (rows, 6 x width).
            rotary: `rotary_positions`.
            attended: True where a key takes part, (rows, 1, 1, length).
        """
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = (
            self.scale_shift_table[None] + modulation.reshape(len(tokens), 6, -1)
        ).chunk(6, dim=1)
        normed = self.norm1(tokens) * (1 + scale) + shift
        tokens = tokens + gate * self.attn1(normed, attention_mask=attended, rotary=rotary)
        normed = self.norm2(tokens) * (1 + mlp_scale) + mlp_shift
        output: torch.Tensor = tokens + mlp_gate * self.ff(normed)
        return output


class RotaryAttnProcessor:
    """Softmax attention over queries and keys turned by their positions."""

    def __call__(
        self,
        attn: Attention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        rotary: Rotary | None = None,
    ) -> torch.Tensor:
        """Attend; `attention_mask` is True where a key takes part."""
        query, key, value = (
            project(hidden_states).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for project in (attn.to_q, attn.to_k, attn.to_v)
        )
        # Llama's layout: a pair is a channel of the first half and one of the second.
        query, key = (
            apply_rotary_emb(part, rotary, use_real_unbind_dim=-2) for part in (query, key)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=attention_mask)
        output: torch.Tensor = attn.to_out[0](mixed.transpose(1, 2).flatten(2))
        return output


class SwiGLU(nn.Module):
    """Llama's MLP (Shazeer, arXiv 2002.05202)."""

    def __init__(self, width: int, mlp_width: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, mlp_width, bias=False)
        self.up_proj = nn.Linear(width, mlp_width, bias=False)
        self.down_proj = nn.Linear(mlp_width, width, bias=False)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Gate, then project back."""
        gated = F.silu(self.gate_proj(hidden_states)) * self.up_proj(hidden_states)
        output: torch.Tensor = self.down_proj(gated)
        return output


@lru_cache(maxsize=16)
def rotary_positions(
    length: int, head_dim: int, device: torch.device, dtype: torch.dtype = torch.float32
) -> Rotary:
    """Return rotary positions with Llama 3.1's stretching of long wavelengths.

    Wavelengths up to a `high`-th of the original length stay, those from a `low`-th of it on are
    stretched by the factor, those between are interpolated; as in Llama 3.1's reference code
    (`apply_scaling`) and transformers' `rope_type="llama3"`, with the same theta and factors.
    The original length is not Llama 3.1's 8192: Reflect-DiT's reference outputs are met to 1e-6
    with 2048 and missed by up to 0.16 with 8192.

    Angles are computed in float32, since bfloat16 cannot tell neighbouring positions apart. The
    frequencies are rounded where the weights are bfloat16: the published ones were trained, and
    are run by the official code, with the whole module converted, its buffer of frequencies
    included. That moves a frequency by up to 0.4%, at full size an angle by half a radian at
    position 282, so exact frequencies would not be the ones that the weights know.

    Returns:
        Cosines and sines, float32, (length, head_dim) each.
    """
    theta, factor, low, high, original = 500000.0, 8.0, 1.0, 4.0, 2048
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32, device=device) / head_dim
    frequencies = 1.0 / theta**exponents
    waves = original * frequencies / (2 * math.pi)
    smooth = ((waves - low) / (high - low)).clamp(0, 1)
    frequencies = (1 - smooth) * frequencies / factor + smooth * frequencies
    if dtype == torch.bfloat16:
        frequencies = frequencies.to(dtype).float()
    place = torch.arange(length, dtype=torch.float32, device=device)
    angles = torch.outer(place, frequencies).repeat(1, 2)
    return angles.cos(), angles.sin()
