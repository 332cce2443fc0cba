from __future__ import annotations

import json

import numpy as np
import pytest

from harness.miniature import WEIGHTS
from harness.miniature.evaluate import (
    benchmark_requests,
    by_tag,
    grid,
    load_scorer,
    measure_scenes,
    sample,
)
from harness.miniature.prompts import TAGS, draw_request

pytestmark = pytest.mark.skipif(
    not (WEIGHTS / "base" / "model_index.json").exists(), reason="no weights are bundled"
)


def test_the_bundle_is_whole_and_small() -> None:
    size = sum(file.stat().st_size for file in WEIGHTS.rglob("*") if file.is_file())
    assert size < 40e6
    assert not [file for file in WEIGHTS.rglob("*") if file.suffix in (".pt", ".bin", ".pkl")]
    for stage in ("base", "base/vae", "detector", "judge", "colors", "vision"):
        recipe = json.loads((WEIGHTS / stage / "recipe.json").read_text())
        assert recipe["held_out"] and recipe["schedule"]["steps"] > 0
    assert "Open Font License" in (WEIGHTS / "CARD.md").read_text()


def test_the_stock_pipeline_draws_the_same_image_from_the_same_noise() -> None:
    texts = ["a photo of a red apple", "a photo of two buses", "a photo of a dog above a bed"]
    first = list(sample(WEIGHTS / "base", texts, seed=3, batch=2))
    again = list(sample(WEIGHTS / "base", texts, seed=3, batch=2))
    assert len(first) == 3
    for image, other in zip(first, again, strict=True):
        assert image.shape == (64, 64, 3) and image.dtype == np.uint8
        assert np.array_equal(image, other)
        assert image.std() > 5
    assert not np.array_equal(first[0], first[1])


@pytest.mark.usefixtures("font")
def test_scorer_and_judge_are_right_about_rendered_scenes() -> None:
    rng = np.random.default_rng(11)
    requests = [draw_request(rng, tag) for tag in TAGS for _ in range(8)]
    for detector, least in (("detector", 0.93), ("judge", 0.6)):
        scorer = load_scorer(WEIGHTS / detector, WEIGHTS / "colors")
        found = measure_scenes(scorer, requests, 1)
        assert found["true_scenes_accepted"]["micro"] >= least
        assert found["planted_errors_rejected"]["micro"] >= least


def test_the_vision_encoder_gives_a_grid_of_tokens() -> None:
    import torch
    from transformers import SiglipVisionModel

    encoder = SiglipVisionModel.from_pretrained(WEIGHTS / "vision", dtype=torch.float32).eval()
    with torch.no_grad():
        seen = encoder(pixel_values=torch.zeros(1, 3, 64, 64)).last_hidden_state
    assert seen.shape[1] == 64 and bool(seen.isfinite().all())


def test_shares_are_means_over_images_and_over_tags() -> None:
    requests = benchmark_requests()
    assert len(requests) == 553
    right = [request.tag == "single_object" for request in requests]
    shares = by_tag(requests, right)
    assert shares["single_object"] == 1 and shares["position"] == 0
    assert shares["macro"] == round(1 / 6, 4)
    assert shares["micro"] == round(80 / 553, 4)
    pictures = [np.full((4, 4, 3), number % 256, np.uint8) for number in range(553)]
    assert grid(requests, pictures, columns=5).shape == (6 * 8, 5 * 8, 3)
