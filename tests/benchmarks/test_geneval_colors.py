from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from benchmarks.geneval.classes import COLORS
from benchmarks.geneval.colors import (
    ClipColorClassifier,
    ClipImageSettings,
    Crop,
    clip_pixels,
    load_colors,
)
from harness.errors import BadAnswer, Failure, HarnessError
from tests.benchmarks.conftest import MEAN, SIDE, STD


def crops(count: int, seed: int = 0) -> list[Crop]:
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        height, width = rng.integers(20, 60, size=2)
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        image[:] = image * 0.3 + rng.integers(0, 178, 3)
        mask = rng.random((height, width)) < 0.7
        x0, y0 = rng.uniform(0, 10, size=2)
        box = np.array([x0, y0, rng.uniform(12, width), rng.uniform(12, height)], np.float32)
        made.append(Crop(image, mask, box, ("bench", "hot dog")[number % 2]))
    return made


def plainly(tiny_clip: Path, crop: Crop) -> torch.Tensor:
    """The published procedure in other means: numpy masking, transformers' processor and model."""
    model, tokenizer = directly_loaded(tiny_clip)
    grey = np.where(crop.mask[..., None], crop.image, np.uint8(153))
    x0, y0, x1, y1 = np.rint(crop.box).astype(int)
    inputs = torch.from_numpy(transformers_pixels(grey[y0:y1, x0:x1]))[None]
    directions = []
    with torch.inference_mode():
        for color in COLORS:
            texts = [
                f"a photo of a {color} {crop.name}",
                f"a photo of a {color}-colored {crop.name}",
                f"a photo of a {color} object",
            ]
            output = model(
                **tokenizer(texts, padding=True, return_tensors="pt"), pixel_values=inputs
            )
            # The model normalises its embeddings once.
            mean = output.text_embeds.mean(dim=0)
            directions.append(mean / mean.norm())
        return torch.stack(directions) @ output.image_embeds[0]


@functools.cache
def directly_loaded(tiny_clip: Path) -> tuple[Any, Any]:
    from transformers import CLIPModel, CLIPTokenizer

    return CLIPModel.from_pretrained(tiny_clip).eval(), CLIPTokenizer.from_pretrained(tiny_clip)


def transformers_pixels(cut: Any) -> Any:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    processor = CLIPImageProcessorPil(
        size={"shortest_edge": SIDE},
        crop_size={"height": SIDE, "width": SIDE},
        image_mean=MEAN,
        image_std=STD,
    )
    return np.asarray(processor(Pillow.fromarray(cut), return_tensors="np")["pixel_values"][0])


def evenly_cut(crop: Crop) -> bool:
    """Whether the margin cut off is even, so that both libraries agree where the middle is."""
    x0, y0, x1, y1 = np.rint(crop.box).astype(int)
    width, height = x1 - x0, y1 - y0
    margin = int(SIDE * max(width, height) / min(width, height)) - SIDE
    return margin % 4 != 3


@pytest.mark.slow
def test_agrees_with_a_plain_computation(tiny_clip: Path) -> None:
    classifier = load_colors(tiny_clip, batch_size=3)
    assert isinstance(classifier, ClipColorClassifier)
    compared = [crop for crop in crops(16) if evenly_cut(crop)]
    assert len(compared) >= 8
    expected = torch.stack([plainly(tiny_clip, crop) for crop in compared])
    result = torch.stack(classifier.similarities(compared))
    assert (result - expected).abs().max() < 1e-5
    named = [COLORS[int(row.argmax())] for row in expected]
    assert classifier.classify(compared) == named
    assert len(set(named)) > 1


def test_pixels_are_those_of_transformers_where_the_middle_is_the_same(tiny_clip: Path) -> None:
    settings = ClipImageSettings.from_folder(tiny_clip)
    compared = [crop for crop in crops(24, seed=1) if evenly_cut(crop)]
    assert len(compared) >= 10
    for crop in compared:
        grey = np.where(crop.mask[..., None], crop.image, np.uint8(153))
        x0, y0, x1, y1 = np.rint(crop.box).astype(int)
        expected = transformers_pixels(grey[y0:y1, x0:x1])
        assert np.abs(clip_pixels(crop, settings) - expected).max() < 1e-5


@pytest.mark.parametrize(("length", "start"), [(33, 0), (34, 1), (35, 2), (37, 2), (39, 4)])
def test_the_middle_of_an_odd_margin_is_torchvisions(
    tiny_clip: Path, length: int, start: int
) -> None:
    ramp = np.zeros((SIDE, length, 3), np.uint8)
    ramp[:] = np.arange(length, dtype=np.uint8)[:, None]
    box = np.array([0, 0, length, SIDE], np.float32)
    crop = Crop(ramp, np.ones((SIDE, length), np.bool_), box, "bench")
    row = clip_pixels(crop, ClipImageSettings.from_folder(tiny_clip))[0, 0] * STD[0] + MEAN[0]
    assert round(float(row[0]) * 255) == start


def test_a_rows_bits_depend_on_the_row_alone(tiny_clip: Path) -> None:
    classifier = load_colors(tiny_clip, batch_size=4)
    batch = crops(6)
    together = classifier.similarities(batch)
    backwards = classifier.similarities(batch[::-1])[::-1]
    for crop, row, other in zip(batch, together, backwards, strict=True):
        assert torch.equal(classifier.similarities([crop])[0], row)
        assert torch.equal(row, other)


def test_what_surrounds_the_object_does_not_matter(tiny_clip: Path) -> None:
    classifier = load_colors(tiny_clip)
    [crop] = crops(1)
    painted = np.where(crop.mask[..., None], crop.image, np.uint8(7))
    [one], [other] = (classifier.similarities([c]) for c in (crop, crop._replace(image=painted)))
    assert torch.equal(one, other)


def test_a_box_thinner_than_a_pixel_is_looked_at(tiny_clip: Path) -> None:
    [crop] = crops(1)
    thin = crop._replace(box=np.array([5.1, 5, 5.2, 9], np.float32))
    assert load_colors(tiny_clip).classify([thin])[0] in COLORS


def test_output_that_is_not_finite_stops_the_run(tiny_clip: Path) -> None:
    classifier = load_colors(tiny_clip)
    classifier.model.visual_projection.weight[0, 0] = float("nan")
    with pytest.raises(BadAnswer, match="not finite") as caught:
        classifier.classify(crops(1))
    assert caught.value.failure is Failure.BAD_NUMBER


def test_no_crops_and_flops(tiny_clip: Path) -> None:
    classifier = load_colors(tiny_clip)
    assert classifier.classify([]) == []
    assert classifier.flops_per_crop == classifier.flops_per_crop > 1e5


def test_activation_comes_from_the_config(tiny_clip: Path) -> None:
    classifier = load_colors(tiny_clip)
    assert classifier.model.config.vision_config.hidden_act == "quick_gelu"


def test_openais_settings_are_the_defaults(tmp_path: Path) -> None:
    old_form = {
        "size": 224,
        "crop_size": 224,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
    }
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(old_form))
    assert ClipImageSettings.from_folder(tmp_path) == ClipImageSettings()


def test_settings_in_their_newer_place(tiny_clip: Path, tmp_path: Path) -> None:
    settings = json.loads((tiny_clip / "preprocessor_config.json").read_text())
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": settings}))
    assert ClipImageSettings.from_folder(tmp_path) == ClipImageSettings.from_folder(tiny_clip)


def test_a_folder_that_lacks_a_part_is_named(tiny_clip: Path, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"preprocessor_config\.json"):
        ClipImageSettings.from_folder(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text('{"size": 3}')
    with pytest.raises(HarnessError, match="does not describe"):
        ClipImageSettings.from_folder(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "siglip"}')
    with pytest.raises(HarnessError, match="'siglip', expected 'clip'"):
        load_colors(tmp_path)
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((tiny_clip / name).read_bytes())
    with pytest.raises(HarnessError, match="has no tokenizer"):
        load_colors(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(HarnessError, match=r"cannot load the tokenizer"):
        load_colors(tmp_path)


def test_a_tokenizer_of_another_model_is_refused(tiny_clip: Path, tmp_path: Path) -> None:
    from transformers import CLIPConfig, CLIPModel

    shutil.copytree(tiny_clip, tmp_path, dirs_exist_ok=True)
    config = CLIPConfig.from_pretrained(tiny_clip)
    config.text_config.vocab_size = 40
    config.text_config.eos_token_id = config.text_config.pad_token_id = 39
    CLIPModel(config).save_pretrained(tmp_path)
    with pytest.raises(HarnessError, match="56 tokens, its model 40"):
        load_colors(tmp_path)
