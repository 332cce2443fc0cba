"""LoRA adapters: small files that change a pipeline's weights, merged into them when it is loaded.

Source: Hu et al., "LoRA", arXiv 2106.09685: ``W + (alpha / rank) B A``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError, shortened
from harness.models.adapter_names import is_adapter
from harness.models.loading import explained, read_weights

if TYPE_CHECKING:
    from torch import Tensor

_KEY = re.compile(
    r"(?P<network>transformer|unet|text_encoder(?:_[23])?)\.(?P<module>.+?)\."
    r"(?:lora_(?P<half>[AB])\.weight|lora\.(?P<old>down|up)\.weight|(?P<alpha>alpha))"
)
_HALVES = {"down": "A", "up": "B"}
_METADATA = "lora_adapter_metadata"
_HINT = "expected one .safetensors file as diffusers' `save_lora_weights` writes it for this model"


def merge_adapters(pipeline: Any, checkpoints: Mapping[str, Path]) -> None:
    """Add the adapters among a pipeline's checkpoints to its weights, in the order of their names.

    Raises:
        UsageError: A part's name is no adapter's, though it begins like one.
        HarnessError: A file is missing, damaged, or made for another model.
    """
    for part in sorted(filter(is_adapter, checkpoints)):
        _merge(pipeline, checkpoints[part], float(part.partition("@")[2] or 1))


def _merge(pipeline: Any, folder: Path, weight: float) -> None:
    files = sorted(folder.glob("*.safetensors"))
    if len(files) != 1:
        raise HarnessError(f"the adapter {folder} holds {len(files)} .safetensors files", _HINT)
    tensors, options = read_weights(files[0]), _options(files[0])
    modules: dict[tuple[str, str], dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        match = _KEY.fullmatch(key)
        if match is None:
            raise HarnessError(f"{files[0]} has the weight {shortened([key])}, not a LoRA's", _HINT)
        kind = match["alpha"] or match["half"] or _HALVES[match["old"]]
        modules.setdefault((match["network"], match["module"]), {})[kind] = tensor
    if not modules:
        raise HarnessError(f"{files[0]} holds no weights", _HINT)
    changes = [
        _change(pipeline, files[0], *place, pair, weight, options)
        for place, pair in modules.items()
    ]
    for target, change in changes:  # all of them fit
        target.copy_(change)


def _change(
    pipeline: Any,
    file: Path,
    network: str,
    module: str,
    pair: Mapping[str, Tensor],
    weight: float,
    options: Mapping[str, Any],
) -> tuple[Tensor, Tensor]:
    """Return a module's weights and what they become."""
    import torch

    where = f"{network}.{module}"
    try:
        target = getattr(pipeline, network, None).get_submodule(module).weight.data  # type: ignore[union-attr]
    except AttributeError:
        raise HarnessError(f"{file} changes {where}, which this pipeline lacks", _HINT) from None
    if not {"A", "B"} <= pair.keys():
        raise HarnessError(f"{file} has half of a pair for {where}", _HINT)
    down, up = pair["A"].float(), pair["B"].float()
    rank = len(down) if down.dim() else 0
    fits = down.dim() == up.dim() == target.dim() and rank and up.shape[1] == rank
    if not fits or (len(up), *down.shape[1:]) != tuple(target.shape) or up[0, 0].numel() != 1:
        raise HarnessError(
            f"{file} has matrices of {tuple(up.shape)} and {tuple(down.shape)} for {where}, whose "
            f"weights are {tuple(target.shape)}",
            _HINT,
        )
    alpha = float(pair["alpha"].reshape(-1)[0]) if "alpha" in pair else _alpha(options, where, rank)
    product = (up.flatten(1) @ down.flatten(1)).view(target.shape)
    if not (math.isfinite(alpha) and bool(product.isfinite().all())):
        raise HarnessError(f"{file} has NaN or infinite values for {where}", _HINT)
    change = (weight * alpha / rank) * product.to(target.device)
    return target, (target.to(torch.float32) + change).to(target.dtype)


def _options(file: Path) -> dict[str, Any]:
    """Return the adapter's own configuration, empty where its file holds none."""
    from safetensors import safe_open

    with explained(file.parent, file.name), safe_open(file, "pt") as opened:
        options = json.loads((opened.metadata() or {}).get(_METADATA, "{}"))
        if not isinstance(options, dict):
            raise HarnessError(f"{file} holds no configuration of an adapter", _HINT)
    for name, value in options.items():
        if value and name.endswith((".use_dora", ".use_rslora", ".lora_bias")):
            raise HarnessError(f"{file} asks for {name}, which is not run", _HINT)
    return options


def _alpha(options: Mapping[str, Any], where: str, rank: int) -> float:
    network, _, module = where.partition(".")
    patterns = options.get(f"{network}.alpha_pattern")
    own = patterns.get(module) if isinstance(patterns, dict) else None
    alpha = options.get(f"{network}.lora_alpha", rank) if own is None else own
    return float(alpha) if isinstance(alpha, int | float) else math.nan
