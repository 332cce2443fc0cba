from __future__ import annotations

import torch
from torch.nn.functional import scaled_dot_product_attention

from harness.flops import count


def test_a_multiply_add_counts_as_two() -> None:
    layer = torch.nn.Linear(3, 5)
    assert count(lambda: layer(torch.zeros(7, 3))) == 2 * 7 * 3 * 5


def test_fused_attention_is_counted_on_every_device() -> None:
    rows, heads, queries, keys, width = 2, 3, 8, 5, 4
    for device in ("cpu", "meta"):
        q = torch.zeros(rows, heads, queries, width, device=device)
        k = torch.zeros(rows, heads, keys, width, device=device)
        result = count(lambda q=q, k=k: scaled_dot_product_attention(q, k, k))  # type: ignore[misc]
        assert result == 2 * (2 * rows * heads * queries * keys * width)


def test_gradients_are_off_and_come_back() -> None:
    seen = []
    count(lambda: seen.append(torch.is_grad_enabled()))
    assert seen == [False] and torch.is_grad_enabled()
