"""Random-weight models: the tiny size runs the whole road, the full one has the right shapes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from harness.models.reflect_dit.transformer import SanaTransformer2DModelWithContext
from tests.random_models import write_models
from tests.sizes import FULL, TINY
from tests.terminal import Terminal

GOLDEN = Path(__file__).parents[0] / "golden" / "reflect_dit"


def test_the_full_transformer_is_the_published_one() -> None:
    facts = json.loads((GOLDEN / "full_size_state_dict.json").read_text())
    with torch.device("meta"):
        full = SanaTransformer2DModelWithContext(**FULL.transformer)
    assert {k: list(v.shape) for k, v in full.state_dict().items()} == facts["state_dict"]


def test_the_full_parts_have_as_many_weights_as_the_released_ones() -> None:
    from diffusers import AutoencoderDC
    from transformers import (
        Gemma2Config,
        Gemma2Model,
        Mask2FormerConfig,
        Mask2FormerForUniversalSegmentation,
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        SiglipVisionConfig,
        SiglipVisionModel,
        SwinConfig,
    )

    def millions(model: torch.nn.Module) -> float:
        return sum(p.numel() for p in model.parameters()) / 1e6

    with torch.device("meta"):
        # From the model cards, to two or three digits: Gemma 2 2B, DC-AE f32c32, Qwen2.5-VL 3B,
        # SigLIP large, Mask2Former Swin-S.
        assert 2600 < millions(Gemma2Model(Gemma2Config(**FULL.text))) < 2630
        assert 300 < millions(AutoencoderDC(in_channels=3, **FULL.autoencoder)) < 330
        config = Qwen2_5_VLConfig(
            text_config=dict(FULL.vlm_text),
            vision_config=dict(FULL.vlm_vision),
            tie_word_embeddings=True,
        )
        assert 3700 < millions(Qwen2_5_VLForConditionalGeneration(config)) < 3800
        assert 310 < millions(SiglipVisionModel(SiglipVisionConfig(**FULL.siglip))) < 320
        swin = SwinConfig(**FULL.swin, out_features=["stage1", "stage2", "stage3", "stage4"])
        config = Mask2FormerConfig(backbone_config=swin, num_labels=80, **FULL.mask2former)
        assert 65 < millions(Mask2FormerForUniversalSegmentation(config)) < 72


def test_models_are_written_once(tmp_path: Path) -> None:
    written: list[str] = []
    sana, reflect = write_models(tmp_path, TINY, observe=written.append)
    assert sana.is_file() and reflect.is_file() and len(written) == 5
    (tmp_path / "vlm" / "complete.json").unlink()
    write_models(tmp_path, TINY, observe=written.append)
    assert written[5:] == ["vlm"]


@pytest.mark.slow
def test_bench_measures_them(harness: Terminal, tmp_path: Path) -> None:
    few = ["--limit", 2, "--budget", 2, "--rounds", 1, "--device", "cpu", "--threads", 1]
    sana, reflect = write_models(tmp_path, TINY)
    assert harness("bench", "--model", sana, *few) == 0, harness.err
    assert "random-tiny-sana" in harness.out
    assert harness("bench", "--model", reflect, *few) == 0, harness.err
    assert "random-tiny-reflect-dit" in harness.out
    assert "best-of-n, budget 2" in harness.out and "reflect, budget 2" in harness.out
