"""FLOPs of a forward pass, counted rather than guessed.

torch's counter knows matrix products, convolutions and the SDPA kernels by name, but counts
CPU's fused attention and the fast path of `nn.MultiheadAttention` as zero; without the one and with
the math backend, attention is broken into the matrix products that it knows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def count(forward: Callable[[], Any]) -> float:
    """FLOPs of one call, a multiply-add counted as two; elementwise work is not counted.

    Gradients are off during the call.
    """
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
            forward()
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return float(counter.get_total_flops())
