"""Noise by name: standard normal whatever the turns, plain where there are none."""

from __future__ import annotations

import pytest
import torch

from harness.models.noise import noise_tensor


def test_without_turns_it_is_the_noise_of_its_seed() -> None:
    expected = torch.randn((4, 3), generator=torch.Generator().manual_seed(7))
    assert torch.equal(noise_tensor([(7, 1.0)], (4, 3)), expected)


@pytest.mark.parametrize("turns", [[(8, 0.9)], [(8, 0.0)], [(8, -0.5), (9, 0.99), (10, 0.3)]])
def test_turned_noise_is_standard_normal(turns: list[tuple[int, float]]) -> None:
    turned = noise_tensor([(7, 1.0), *turns], (200, 200))
    assert abs(float(turned.mean())) < 0.02 and abs(float(turned.std()) - 1) < 0.02
    plain = noise_tensor([(7, 1.0)], (200, 200))
    correlation = float((turned * plain).mean())
    expected = torch.tensor([cosine for _, cosine in turns]).prod()
    assert abs(correlation - float(expected)) < 0.02


def test_turns_follow_one_another() -> None:
    """A neighbour of a neighbour is named by both turns."""
    one = noise_tensor([(1, 1.0), (2, 0.8)], (5,))
    two = noise_tensor([(1, 1.0), (2, 0.8), (3, 0.6)], (5,))
    assert torch.allclose(two, 0.6 * one + 0.8 * noise_tensor([(3, 1.0)], (5,)))
