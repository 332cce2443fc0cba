"""The cost of a pipeline's networks while they run: evaluations and FLOPs, seen at each call.

FLOPs are counted once for every shape of a network's inputs, on a weightless copy of it (torch's
meta device): shapes flow through the real forward code and nothing is computed, so counting a
network of billions of parameters takes a second on any CPU. A network that cannot run there is not
counted, and neither is what it is part of.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from functools import wraps
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from harness.flops import count
from harness.models.loading import quiet
from harness.records import add_known


class Taken(NamedTuple):
    """Sums over calls.

    Attributes:
        rows: That the denoiser evaluated.
        denoising: Its FLOPs; None if they are not counted.
        other: FLOPs of all other networks; None if they are not counted.
    """

    rows: int = 0
    denoising: float | None = 0.0
    other: float | None = 0.0

    @property
    def flops(self) -> float | None:
        """All of them."""
        return add_known(self.denoising, self.other)


class Meter:
    """Counts what networks take. Has state: the sums since the last `take`, and counted shapes."""

    def __init__(self) -> None:
        self._taken = Taken()
        self._counted: dict[tuple[Any, ...], tuple[float | None, Any]] = {}
        self._copies: dict[int, Any] = {}

    def take(self) -> Taken:
        """Return the sums since the last call."""
        taken, self._taken = self._taken, Taken()
        return taken

    def put_back(self, taken: Taken) -> None:
        """Have the next `take` return what an earlier one did."""
        self._taken = taken

    def watch(self, network: Any, method: str = "forward", *, denoises: bool = False) -> None:
        """Count each call of a network's method.

        Args:
            network: A network of diffusers or transformers; one without weights, which lies on the
                meta device, is not run, and answers with zeros.
            method: Its name.
            denoises: Count the rows of its first input, too.
        """
        call = getattr(network, method)
        is_empty = next(network.parameters()).is_meta

        @wraps(call)
        def counted(*args: Any, **kwargs: Any) -> Any:
            # Before it runs: some networks change the lists that they are given.
            flops, output = self._count(network, method, args, kwargs)
            rows, denoising, other = self._taken
            if denoises:
                leaves = tree_flatten((args, kwargs))[0]
                first = next(leaf for leaf in leaves if isinstance(leaf, torch.Tensor))
                listed = args[0] if args and isinstance(args[0], list) else first
                self._taken = Taken(rows + len(listed), add_known(denoising, flops), other)
            else:
                self._taken = Taken(rows, denoising, add_known(other, flops))
            return tree_map(_zeros, output) if is_empty else call(*args, **kwargs)

        setattr(network, method, counted)

    def _count(
        self, network: Any, method: str, args: Any, kwargs: dict[str, Any]
    ) -> tuple[float | None, Any]:
        """Return a call's FLOPs and its output without values, both None where it cannot run."""
        leaves = tree_flatten((args, kwargs))[0]
        shapes = tuple(tuple(x.shape) for x in leaves if isinstance(x, torch.Tensor))
        key: tuple[Any, ...] = (id(network), method, shapes)
        if key not in self._counted:
            self._counted[key] = self._run(network, method, args, kwargs, values=False)
        if self._counted[key][0] is not None:
            return self._counted[key]
        # It looks at how many tokens its masks leave.
        masks = [v for n, v in kwargs.items() if n.endswith("mask") and isinstance(v, torch.Tensor)]
        lengths = tuple(tuple(mask.sum(-1).flatten().tolist()) for mask in masks)
        if (*key, lengths) not in self._counted:
            self._counted[*key, lengths] = self._run(network, method, args, kwargs, values=True)
        return self._counted[*key, lengths]

    def _run(
        self, network: Any, method: str, args: Any, kwargs: dict[str, Any], *, values: bool
    ) -> tuple[float | None, Any]:
        output: Any = None

        def forward() -> None:
            nonlocal output
            with _Values():  # type: ignore[no-untyped-call]
                output = getattr(self._copies[id(network)], method)(*args, **kwargs)

        try:
            with quiet(), torch.device("meta"):
                if id(network) not in self._copies:
                    self._copies[id(network)] = weightless(network)
                if not hasattr(network, "load_config"):
                    # What text encoders compute is the same with any mask, and masks have values.
                    kwargs = {n: value for n, value in kwargs.items() if n != "attention_mask"}
                args, kwargs = tree_map(lambda leaf: _shape(leaf, values), (args, kwargs))
                return count(forward), output
        except Exception:
            # Some networks look at values, which a tensor without any does not have; what they
            # raise then is anything from NotImplementedError to torch's own types.
            return None, None


class _Values(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Let tensors with values meet tensors without: what comes of both has none."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        args, kwargs = args, dict(kwargs or {})
        leaves = tree_flatten((args, kwargs))[0]
        if any(isinstance(leaf, torch.Tensor) and leaf.is_meta for leaf in leaves):
            args, kwargs = tree_map(_without_values, (args, kwargs))
        return func(*args, **kwargs)


def weightless(network: Any) -> Any:
    """Return a copy without weights, on the device in force."""
    if hasattr(network, "load_config"):
        # A config read from a file may hold fields that the class ignores and warns about.
        known = inspect.signature(type(network).__init__).parameters
        config = {name: value for name, value in network.config.items() if name in known}
        return type(network)(**config).eval()
    own: Any = copy.deepcopy(network.config)
    # Which look at no values to build their masks.
    own._attn_implementation, own.use_cache = "eager", True
    return type(network)(own).eval()


def _shape(leaf: Any, values: bool) -> Any:
    """Return a tensor without values; floats in the copies' own format."""
    if not isinstance(leaf, torch.Tensor):
        return leaf
    if values and not leaf.is_floating_point():
        return leaf.cpu()
    dtype = torch.float32 if leaf.is_floating_point() else leaf.dtype
    return torch.empty(leaf.shape, dtype=dtype, device="meta")


def _without_values(leaf: Any) -> Any:
    if isinstance(leaf, torch.Tensor) and not leaf.is_meta:
        return torch.empty_like(leaf, device="meta")
    return leaf


def _zeros(leaf: Any) -> Any:
    return torch.zeros_like(leaf, device="cpu") if isinstance(leaf, torch.Tensor) else leaf
