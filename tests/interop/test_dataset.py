"""Images with verdicts and scores, read back as the tools they are for read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image as Pillow

import harness
from harness.errors import HarnessError, UsageError
from harness.interop.dataset import export_dataset
from harness.seeds import pixel_digest
from tests.audit.forging import Forger
from tests.report.conftest import HostileBenchmark
from tests.runs import run, stub_plan
from tests.stubs import make_stub_suite

pytestmark = pytest.mark.usefixtures("import_stubs")


def made(folder: Path, **ask: Any) -> Path:
    suite, faults = make_stub_suite(folder)
    faults.add("generator", "error", "on-3")
    run(stub_plan(suite, budget=2, **ask), folder / "run")
    return folder / "run"


def test_hugging_face_opens_the_folder(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="the library is not installed")
    source = made(tmp_path, metrics=(f"tests.stubs:StubMetric={tmp_path / 'faults'}",))
    done = export_dataset(source, tmp_path / "out", "hf-dataset")
    assert (done.images, done.missing) == (18, ())
    loaded = datasets.load_dataset(
        str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache")
    )
    frame = harness.load(source).dropna(subset="image")
    assert len(loaded) == len(frame) == 18
    rows = {(row["prompt_id"], row["draw_index"]): row for row in loaded}
    for draw in frame.itertuples():
        row = rows[draw.prompt_id, draw.draw_index]
        assert pixel_digest(np.asarray(row["image"].convert("RGB"))) == draw.image
        assert (row["prompt"], row["value"]) == (draw.prompt, draw.value)
        assert row["selected"] == draw.selected and row["detections"]


def test_the_card_says_what_it_is_whatever_the_run_is_called(tmp_path: Path) -> None:
    source = made(tmp_path)
    Forger(source).config(lambda config: config.update(suite="x` | <b>\n# no\x1b[2J"))
    export_dataset(source, tmp_path / "out", "hf-dataset")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "miniature models: this says something about searching" in card
    assert "18 of 20 draws" in card and "micro" in card
    assert "<b>" not in card and "\n# no" not in card and "\x1b" not in card
    table = pq.read_table(tmp_path / "out" / "train" / "metadata.parquet")
    assert table.num_rows == len(list((tmp_path / "out" / "train").glob("*.png"))) == 18


def test_coco_has_every_image_and_detection(tmp_path: Path) -> None:
    source = made(tmp_path)
    export_dataset(source, tmp_path / "out", "fiftyone")
    labels = json.loads((tmp_path / "out" / "labels.json").read_text())
    frame = harness.load(source).dropna(subset="image").reset_index()
    assert len(labels["images"]) == 18 and len(labels["annotations"]) == 18
    assert labels["categories"] == [{"id": 1, "name": "cat"}]
    for image, draw in zip(labels["images"], frame.itertuples(), strict=True):
        with Pillow.open(tmp_path / "out" / "data" / image["file_name"]) as picture:
            assert picture.size == (image["width"], image["height"])
        assert image["draw_id"] == draw.draw_id and image["correct"] == draw.correct
        [known] = [each for each in labels["annotations"] if each["image_id"] == image["id"]]
        left, top, right, bottom = draw.detections[0]["box"]
        assert known["bbox"] == [left, top, right - left, bottom - top]
        assert known["score"] == pytest.approx(draw.detections[0]["score"])
    assert "COCODetectionDataset" in (tmp_path / "out" / "README.md").read_text()


def test_names_of_files_are_not_the_prompts_(tmp_path: Path) -> None:
    suite, _ = make_stub_suite(tmp_path)
    hostile = "tests.report.conftest:HostileBenchmark"
    run(stub_plan(suite, budget=1, benchmark=hostile), tmp_path / "run")
    for layout in ("hf-dataset", "fiftyone"):
        done = export_dataset(tmp_path / "run", tmp_path / layout, layout)
        assert done.images == len(HostileBenchmark().prompts())
        files = {path.name for path in (tmp_path / layout).rglob("*.png")}
        assert files == {f"{place:05d}-0000-00000.png" for place in range(done.images)}


def test_only_what_should_be_there_is_missing(tmp_path: Path) -> None:
    source = made(tmp_path, keep_images="selected")
    done = export_dataset(source, tmp_path / "out", "fiftyone")
    assert (done.images, done.missing) == (9, ())
    next(source.glob("images/*/*.png")).unlink()
    done = export_dataset(source, tmp_path / "less", "fiftyone")
    assert done.images == 8 and len(done.missing) == 1 and "cannot be read" in done.missing[0]
    for path in source.glob("images/*/*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(HarnessError, match="none of the images"):
        export_dataset(source, tmp_path / "none", "hf-dataset")
    with pytest.raises(UsageError, match="not an empty folder"):
        export_dataset(source, tmp_path / "out", "hf-dataset")
