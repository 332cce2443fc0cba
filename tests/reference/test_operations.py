"""FLOPs as the harness counts them, against a counter that reads shapes, over random networks."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from harness.flops import count
from tests.reference.operations import operations


def linear(rng: random.Random) -> Callable[[], Any]:
    width, depth = rng.randint(1, 9), rng.randint(1, 9)
    layer, rows = torch.nn.Linear(width, depth, bias=rng.random() < 0.5), rng.randint(1, 5)
    return lambda: layer(torch.zeros(rows, 3, width))


def convolution(rng: random.Random) -> Callable[[], Any]:
    groups = rng.choice([1, 2])
    channels, out = 2 * rng.randint(1, 3), 2 * rng.randint(1, 3)
    kind = rng.choice([torch.nn.Conv2d, torch.nn.ConvTranspose2d])
    layer = kind(channels, out, rng.randint(1, 3), stride=rng.randint(1, 2), groups=groups)
    return lambda: layer(torch.zeros(2, channels, 8, 6))


def attention(rng: random.Random) -> Callable[[], Any]:
    heads, queries, keys, width = (rng.randint(1, 6) for _ in range(4))
    q, k = torch.zeros(2, heads, queries, width), torch.zeros(2, heads, keys, width)
    return lambda: scaled_dot_product_attention(q, k, k)


def products(rng: random.Random) -> Callable[[], Any]:
    a, b, c = (rng.randint(1, 7) for _ in range(3))
    one, other = torch.zeros(3, a, b), torch.zeros(3, b, c)
    return lambda: (one @ other, one[0] @ other[0], torch.baddbmm(torch.zeros(3, a, c), one, other))


@pytest.mark.parametrize("make", [linear, convolution, attention, products])
def test_both_counters_agree(make: Callable[[random.Random], Callable[[], Any]]) -> None:
    for seed in range(12):
        forward = make(random.Random(seed))
        assert count(forward) == operations(forward) > 0, seed
