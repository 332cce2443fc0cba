from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from benchmarks.geneval.classes import TAGS
from benchmarks.geneval.loading import load_scorer
from harness.miniature import WEIGHTS, WORLDS, card
from harness.miniature.evaluate import (
    benchmark_requests,
    grid,
    sample,
    scene_verdicts,
)
from harness.miniature.known_images import PAIRS
from harness.miniature.prompts import draw_request
from harness.records import Loading

pytestmark = pytest.mark.skipif(
    not (WEIGHTS / "base" / "model_index.json").exists(), reason="no weights are bundled"
)


def verdicts(world: str) -> pd.DataFrame:
    return pd.read_parquet(WEIGHTS / card.TABLE.format(WORLDS[world].suffix))


def test_the_bundle_is_whole_and_small() -> None:
    size = sum(file.stat().st_size for file in WEIGHTS.rglob("*") if file.is_file())
    assert size < 42e6
    assert not [file for file in WEIGHTS.rglob("*") if file.suffix in (".pt", ".bin", ".pkl")]
    weights = [file for file in WEIGHTS.rglob("*.safetensors")]
    assert len({file.read_bytes() for file in weights}) == len(weights)
    for stage in (*card.STAGES, WORLDS["habits"].components, WORLDS["habits"].reflect):
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


@pytest.mark.slow
@pytest.mark.usefixtures("font")
def test_scorer_and_judge_are_right_about_rendered_scenes() -> None:
    rng = np.random.default_rng(11)
    requests = [draw_request(rng, tag) for tag in TAGS for _ in range(8)]
    scorers = {
        name: load_scorer(
            Loading({"detector": WEIGHTS / name, "colors": WEIGHTS / colours}, batch_size=16)
        )
        for name, colours in PAIRS
    }
    true, false = scene_verdicts(scorers, requests, 1)
    for name, least in (("detector", 0.93), ("judge", 0.6)):
        assert true[name].mean() >= least
        assert 1 - false[name].mean() >= least


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
    tags = pd.Series([request.tag for request in requests])
    shares = card.shares(tags, tags == "single_object")
    assert shares["single_object"] == 1 and shares["position"] == 0
    assert shares["macro"] == pytest.approx(1 / 6)
    assert shares["micro"] == pytest.approx(80 / 553)
    pictures = [np.full((4, 4, 3), number % 256, np.uint8) for number in range(553)]
    assert grid(requests, pictures, columns=5).shape == (6 * 8, 5 * 8, 3)


@pytest.mark.parametrize(
    ("world", "whats"),
    [
        ("even", ("base", "planted_error", "reflect", "true_scene")),
        ("habits", ("base", "planted_error", "true_scene")),
    ],
)
def test_the_cards_figures_are_those_of_the_verdicts_beside_it(
    world: str, whats: tuple[str, ...]
) -> None:
    table = verdicts(world)
    assert table.groupby("what").size().to_dict() == dict.fromkeys(whats, 2212)
    asked = [request.tag for request in benchmark_requests() for _ in range(4)]
    assert all(list(part["tag"]) == asked for _, part in table.groupby("what"))
    assert card.measured(WEIGHTS, world) in (WEIGHTS / "CARD.md").read_text(encoding="utf-8")


def test_the_miniature_is_as_good_and_as_bad_as_it_should_be() -> None:
    table = verdicts("even")

    def measured(what: str, who: str) -> dict[str, float]:
        part = table[table["what"] == what]
        return card.shares(part["tag"], part[who])

    assert measured("true_scene", "scorer")["micro"] >= 0.97
    assert measured("planted_error", "scorer")["micro"] <= 0.05
    drawn = measured("reflect", "scorer")
    assert 0.35 <= drawn["macro"] <= 0.70 and drawn["single_object"] >= 0.85
    others = [drawn[tag] for tag in TAGS if tag != "single_object"]
    assert min(others) > 0.05 and max(others) < 0.95
    plain = table[table["what"] == "reflect"]
    assert 0.8 <= (plain["scorer"] == plain["judge"]).mean() <= 0.95


def test_habits_make_prompts_that_no_draw_solves() -> None:
    def unsolved(world: str) -> float:
        table = verdicts(world)
        base = table[table["what"] == "base"]
        return float((base.groupby(base["number"] // 4)["scorer"].sum() == 0).mean())

    assert unsolved("habits") > unsolved("even") + 0.05
