"""The cost of a pipeline's networks while they run: evaluations and FLOPs, seen by hooks.

FLOPs are counted once for every shape of a network's inputs, on a weightless copy of it (torch's
meta device). A network that cannot run there is not counted, and neither is what it is part of.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch.utils._pytree import tree_flatten, tree_map

from harness.flops import count
from harness.models.loading import quiet
from harness.models.sana_flops import bare


class Meter:
    """Counts what networks take. Has state: the sums since the last `take`, and counted shapes.

    Args:
        denoiser: Its evaluations are counted, too.
        others: Further networks by name; what of a decoder runs is its `decoder`.
    """

    def __init__(self, denoiser: torch.nn.Module, others: Mapping[str, torch.nn.Module]) -> None:
        self.rows = 0
        self.flops: float | None = 0.0
        self._counted: dict[tuple[Any, ...], float | None] = {}
        self._copies: dict[str, Any] = {}
        self._watch("denoiser", denoiser, denoiser, "")
        for name, network in others.items():
            inner = "decoder" if name == "vae" else ""
            self._watch(name, network, getattr(network, inner) if inner else network, inner)

    def take(self) -> tuple[int, float | None]:
        """Return the denoiser's rows and all FLOPs since the last call."""
        taken = self.rows, self.flops
        self.rows, self.flops = 0, 0.0
        return taken

    def _watch(self, name: str, network: Any, part: torch.nn.Module, inner: str) -> None:
        def seen(_module: Any, args: Any, kwargs: Any) -> None:
            leaves = tree_flatten((args, kwargs))[0]
            if name == "denoiser":
                first = next(leaf for leaf in leaves if isinstance(leaf, torch.Tensor))
                listed = args[0] if args and isinstance(args[0], list) else None
                self.rows += len(listed) if listed is not None else len(first)
            shapes = tuple(tuple(x.shape) for x in leaves if isinstance(x, torch.Tensor))
            key = (name, shapes)
            if key not in self._counted:
                self._counted[key] = self._count(name, network, inner, args, kwargs)
            flops = self._counted[key]
            self.flops = None if flops is None or self.flops is None else self.flops + flops

        # Before it runs: some networks change the lists that they are given.
        part.register_forward_pre_hook(seen, with_kwargs=True)

    def _count(self, name: str, network: Any, inner: str, args: Any, kwargs: Any) -> float | None:
        try:
            with quiet(), torch.device("meta"):
                if name not in self._copies:
                    whole = _weightless(network)
                    self._copies[name] = getattr(whole, inner) if inner else whole
                if not hasattr(network, "load_config"):
                    # What text encoders compute is the same with any mask, and masks have values.
                    kwargs = {n: value for n, value in kwargs.items() if n != "attention_mask"}
                args, kwargs = tree_map(_shape, (args, kwargs))
                return count(lambda: self._copies[name](*args, **kwargs))
        except Exception:
            # Some networks look at values, which a tensor without any does not have; what they
            # raise then is anything from NotImplementedError to torch's own types.
            return None


def _weightless(network: Any) -> Any:
    if hasattr(network, "load_config"):
        return bare(network)
    config = copy.deepcopy(network.config)
    config._attn_implementation = "eager"  # which looks at no values to build its masks
    return type(network)(config).eval()


def _shape(leaf: Any) -> Any:
    """Return a tensor's shape as a tensor without values; floats in the copies' own format."""
    if not isinstance(leaf, torch.Tensor):
        return leaf
    dtype = torch.float32 if leaf.is_floating_point() else leaf.dtype
    return torch.empty(leaf.shape, dtype=dtype, device="meta")
