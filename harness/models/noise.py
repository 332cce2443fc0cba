"""The tensor that a request's noise names: one function, so that no two models differ in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def noise_tensor(noise: Sequence[tuple[int, float]], shape: Sequence[int]) -> torch.Tensor:
    """Return standard normal noise, float32 on the CPU: independent of device, dtype and batch.

    Args:
        noise: As `harness.records.Request.noise`: the first seed's noise is turned towards each
            further seed's by the angle whose cosine stands beside it.
        shape: Of one row, without a batch dimension.
    """
    import torch

    def plain(seed: int) -> torch.Tensor:
        return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed))

    (first, _), *turns = noise
    tensor = plain(first)
    for seed, cosine in turns:
        tensor = cosine * tensor + math.sqrt(1.0 - cosine * cosine) * plain(seed)
    return tensor
