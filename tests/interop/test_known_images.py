"""A scorer that judges images of known truth wrongly is not worked with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from safetensors.torch import load_file, save_file

from benchmarks.geneval.loading import load_scorer, self_test
from benchmarks.geneval.self_test import ANSWERS, FOLDER, check_known_images
from benchmarks.geneval.settings import Options
from harness.errors import HarnessError
from harness.models.checkpoints import BUNDLED
from harness.models.digests import folder_digest
from harness.records import Loading

QUESTIONS = 8 + 10


@pytest.fixture
def parts(tmp_path: Path) -> dict[str, Path]:
    """Copies of the miniature's, to be damaged."""
    return {
        name: Path(shutil.copytree(BUNDLED / name, tmp_path / name))
        for name in ("detector", "colors")
    }


@pytest.mark.slow
@pytest.mark.parametrize("detector", ["detector", "judge"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_miniature_judges_its_images_rightly(detector: str, dtype: str) -> None:
    parts = {"detector": BUNDLED / detector, "colors": BUNDLED / "colors"}
    for batch_size in (1, 8):
        result = self_test(Loading(parts, dtype=dtype, batch_size=batch_size))
        assert result.images == QUESTIONS


def test_the_bundled_answers_are_sure(parts: dict[str, Path]) -> None:
    """Far enough from every threshold that rounding turns none over."""
    scorer = load_scorer(Loading(parts))
    place = parts["detector"] / FOLDER
    for file in place.glob("*.png"):
        [result] = scorer.detector.detect([np.asarray(Pillow.open(file))])
        assert all(score > 0.94 or score < 0.2 for score in result.scores), file.name


def test_images_are_small_and_name_no_weights(parts: dict[str, Path]) -> None:
    files = [file for part in parts.values() for file in (part / FOLDER).iterdir()]
    assert sum(file.stat().st_size for file in files) < 25_000
    before = {name: folder_digest(part) for name, part in parts.items()}
    for part in parts.values():
        shutil.rmtree(part / FOLDER)
    # A check does not change what a run comes to, so it is no part of its identity.
    assert before == {name: folder_digest(part) for name, part in parts.items()}
    assert check_known_images(load_scorer(Loading(parts)), parts) == 0


def spoil(folder: Path, key: str, change: Any) -> None:
    weights = load_file(folder / "model.safetensors")
    names = [name for name in weights if name.startswith(key)]
    assert names
    weights |= {name: change(weights[name]) for name in names}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("part", "key", "change", "output"),
    [
        ("detector", "stem.0.0.weight", torch.zeros_like, "detector"),
        ("detector", "down.0.0.weight", lambda t: t.flip(2), "detector"),
        ("detector", "classes.1.weight", lambda t: t.roll(1, 0), "detector"),
        ("detector", "sides.1", torch.zeros_like, "has no"),
        ("colors", "visual_projection.weight", torch.zeros_like, "colors|not finite"),
        ("colors", "vision_model.embeddings.patch_embedding", lambda t: t.flip(1), "colors"),
    ],
)
def test_a_broken_network_is_refused(
    parts: dict[str, Path], part: str, key: str, change: Any, output: str
) -> None:
    spoil(parts[part], key, change)
    with pytest.raises(HarnessError, match=output) as caught:
        load_scorer(Loading(parts, batch_size=4))
    if "not finite" not in caught.value.message:
        assert "judged wrongly" in caught.value.message
        assert "no score of this scorer can be trusted" in caught.value.hint


def test_the_wrong_answer_is_named(parts: dict[str, Path]) -> None:
    file = parts["colors"] / FOLDER / ANSWERS
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[0]["color"] = "green"
    file.write_text("\n".join(json.dumps(row) for row in rows))
    with pytest.raises(HarnessError, match=r"judged wrongly .*: red\.png is red, not green"):
        load_scorer(Loading(parts))


def test_the_overlap_setting_does_not_count(parts: dict[str, Path]) -> None:
    assert Options().max_overlap != 0.001
    load_scorer(Loading(parts, settings={"max_overlap": 0.001}))


@pytest.mark.parametrize("part", ["detector", "colors"])
@pytest.mark.parametrize("content", ["", "{", '{"image": "red.png"}', '{"image": "none.png"}'])
def test_damaged_answers_are_named(parts: dict[str, Path], part: str, content: str) -> None:
    (parts[part] / FOLDER / ANSWERS).write_text(content)
    with pytest.raises(HarnessError, match=rf"{FOLDER}"):
        load_scorer(Loading(parts))


@pytest.mark.parametrize(("part", "name"), [("detector", "counting.png"), ("colors", "red.png")])
def test_a_damaged_image_is_named(parts: dict[str, Path], part: str, name: str) -> None:
    file = parts[part] / FOLDER / name
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(HarnessError, match=rf"{name} cannot be read"):
        load_scorer(Loading(parts))
