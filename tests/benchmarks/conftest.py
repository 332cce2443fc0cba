"""Tiny random networks in place of GenEval's own, whose weights are no part of the project."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

SIDE = 32
"""Side of the tiny CLIP's images; MEAN and STD are its normalisation."""
MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.3, 0.25]


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: Any) -> Path:
    """A tiny random CLIP whose tokenizer knows single letters."""
    from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

    place: Path = tmp_path_factory.mktemp("clip")
    letters = "abcdefghijklmnopqrstuvwxyz-"
    words = [*letters, *(f"{letter}</w>" for letter in letters)]
    vocabulary = [*words, "<|startoftext|>", "<|endoftext|>"]
    (place / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(vocabulary)}))
    (place / "merges.txt").write_text("#version: 0.2\n")
    CLIPTokenizer(
        vocab=str(place / "vocab.json"), merges=str(place / "merges.txt")
    ).save_pretrained(place)
    end = len(vocabulary) - 1
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "projection_dim": 16}
    text = {"vocab_size": len(vocabulary), "bos_token_id": end - 1, "eos_token_id": end}
    config = CLIPConfig(
        text_config={**shape, **heads, **text, "pad_token_id": end},
        vision_config={**shape, **heads, "image_size": SIDE, "patch_size": 8},
        projection_dim=16,
    )
    model = CLIPModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)
    model.save_pretrained(place)
    settings = {
        "size": {"shortest_edge": SIDE},
        "crop_size": {"height": SIDE, "width": SIDE},
        "image_mean": MEAN,
        "image_std": STD,
        "resample": 3,
    }
    (place / "preprocessor_config.json").write_text(json.dumps(settings))
    return place


@pytest.fixture(scope="session")
def tiny_mask2former() -> Any:
    """A random network that finds something: weights large enough for sure classes."""
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig

    torch.manual_seed(0)
    swin = SwinConfig(
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 2, 2],
        window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = Mask2FormerConfig(
        backbone_config=swin,
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=32,
        dim_feedforward=32,
        encoder_layers=1,
        decoder_layers=3,
        num_attention_heads=2,
        num_queries=12,
        num_labels=80,
    )
    network = Mask2FormerForUniversalSegmentation(config)
    with torch.no_grad():
        network.class_predictor.weight.mul_(60)
    return network
