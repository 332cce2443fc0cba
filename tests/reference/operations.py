"""FLOPs of a forward pass, read off the shapes of its products and convolutions.

A counter of its own, beside torch's that runs use: a multiply-add is two operations, and whatever
is no product of matrices (norms, activations, sampling) is not counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what runs under it. Has state: the number so far."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.number = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and add what it takes."""
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name in ("mm", "bmm"):
            self.number += 2 * out.numel() * args[0].shape[-1]
        elif name in ("addmm", "baddbmm"):
            self.number += 2 * out.numel() * args[1].shape[-1]
        elif name == "convolution":
            pixels, weight, transposed = args[0], args[1], args[6]
            # Each weight of a channel is used once for each place of the smaller side.
            places = pixels if transposed else out
            self.number += 2 * places.numel() * math.prod(weight.shape[1:])
        elif "scaled_dot_product" in name:
            query, key, value = args[:3]
            rows = math.prod(query.shape[:-1]) * key.shape[-2]
            self.number += 2 * rows * (query.shape[-1] + value.shape[-1])
        return out


def operations(forward: Callable[[], Any]) -> float:
    """FLOPs of one call."""
    with torch.no_grad(), Operations() as counter:
        forward()
    return float(counter.number)
