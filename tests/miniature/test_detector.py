from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.geneval.detectors.base import Detector
from benchmarks.geneval.detectors.registry import load_detector
from harness.errors import BadAnswer, Failure, HarnessError, UsageError
from harness.miniature.centernet import (
    REACH,
    CenterNet,
    CenterNetConfig,
    Maps,
    Thresholds,
    decode,
)
from harness.miniature.detector import CenterNetDetector, save
from harness.records import Loading

CONFIG = CenterNetConfig(("cat", "dog", "bus"), (8, 8, 8))


def blank() -> Maps:
    """Maps of one 64x64 image that shows nothing."""
    return Maps(
        centres=torch.full((1, 16, 16), -9.0),
        classes=torch.zeros(1, 3, 16, 16),
        sides=torch.zeros(1, 4, 16, 16),
        foreground=torch.full((1, 64, 64), -9.0),
    )


def show(maps: Maps, box: tuple[int, int, int, int], kind: int, sure: float = 9.0) -> None:
    """Draw an object into maps, in the cell of its centre."""
    x0, y0, x1, y1 = box
    x, y = (x0 + x1) // 8, (y0 + y1) // 8
    middle = (4 * x + 2, 4 * y + 2)
    maps.centres[0, y, x] = sure
    maps.classes[0, kind, y, x] = 9.0
    reaches = (middle[0] - x0, middle[1] - y0, x1 - middle[0], y1 - middle[1])
    maps.sides[0, :, y, x] = torch.tensor(reaches) / REACH
    maps.foreground[0, y0:y1, x0:x1] = 9.0


def test_objects_are_read_off_the_maps_best_first() -> None:
    maps = blank()
    show(maps, (4, 8, 28, 30), 1, sure=2.0)
    show(maps, (34, 40, 60, 62), 0)
    (result,) = decode(maps, CONFIG)
    assert result.labels == ("cat", "dog")
    assert result.scores.dtype == np.float32
    assert result.scores == pytest.approx([0.9996, 0.8806], abs=1e-3)
    assert result.boxes.tolist() == [[34, 40, 60, 62], [4, 8, 28, 30]]
    assert result.masks.shape == (2, 64, 64)
    assert result.masks[0, 40:62, 34:60].all() and result.masks[0].sum() == 22 * 26
    assert result.masks[1, 8:30, 4:28].all() and result.masks[1].sum() == 22 * 24


def test_an_image_that_shows_nothing_has_no_detections() -> None:
    (result,) = decode(blank(), CONFIG)
    assert (
        result.labels == () and result.boxes.shape == (0, 4) and result.masks.shape == (0, 64, 64)
    )


def test_a_second_find_of_the_same_object_is_dropped() -> None:
    maps = blank()
    show(maps, (8, 8, 32, 32), 2)
    # Two cells to the right, so no neighbour, with nearly the same box.
    maps.centres[0, 5, 7] = 4.0
    maps.classes[0, 2, 5, 7] = 9.0
    maps.sides[0, :, 5, 7] = torch.tensor([22, 14, 2, 10]) / REACH
    assert decode(maps, CONFIG)[0].labels == ("bus",)
    lenient = CenterNetConfig(CONFIG.classes, CONFIG.widths, 64, Thresholds(overlap=1.0))
    assert decode(maps, lenient)[0].labels == ("bus", "bus")


def test_a_doubtful_object_is_reported_as_both_classes() -> None:
    maps = blank()
    show(maps, (8, 8, 32, 32), 2)
    maps.classes[0, :, 5, 5] = torch.tensor([8.0, -9.0, 8.5])
    (result,) = decode(maps, CONFIG)
    assert result.labels == ("bus", "cat")
    assert result.scores.sum() == pytest.approx(1, abs=1e-3)
    assert np.array_equal(result.boxes[0], result.boxes[1])


def test_temperatures_sharpen() -> None:
    maps = blank()
    show(maps, (8, 8, 32, 32), 0, sure=1.5)
    sharp = Thresholds(centre_temperature=0.5)
    (result,) = decode(maps, CenterNetConfig(CONFIG.classes, CONFIG.widths, 64, sharp))
    assert result.scores[0] == pytest.approx(1 / (1 + np.exp(-3.0)), abs=1e-3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = CenterNet(CONFIG)
    # Eager to see something, so that there is something to compare.
    network.centres[-1].bias.data.fill_(0.5)  # type: ignore[operator, union-attr]
    save(network, CONFIG, tmp_path)
    return tmp_path


def random_images(count: int, side: int = 64) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (side, side, 3), dtype=np.uint8) for _ in range(count)]


def test_a_saved_folder_is_loaded_as_the_protocols_detector(folder: Path) -> None:
    detector = load_detector(Loading({"detector": folder}, batch_size=4))
    assert isinstance(detector, CenterNetDetector) and isinstance(detector, Detector)
    assert detector.config == CONFIG
    assert detector.flops(64, 64) > 1e6
    assert detector.detect([]) == []


def test_detections_do_not_depend_on_the_neighbours(folder: Path) -> None:
    detector = CenterNetDetector.load(Loading({"detector": folder}, batch_size=4, dtype="float32"))
    images = random_images(6)
    together = detector.detect(images)
    assert any(len(result) for result in together)
    for image, result in zip(images, together, strict=True):
        (alone,) = detector.detect([image])
        assert alone.labels == result.labels
        assert alone.scores.tobytes() == result.scores.tobytes()
        assert alone.boxes.tobytes() == result.boxes.tobytes()
        assert np.array_equal(alone.masks, result.masks)


def test_another_size_is_resized_and_back(folder: Path) -> None:
    detector = CenterNetDetector.load(Loading({"detector": folder}, dtype="float32"))
    (small,) = random_images(1, 16)
    large = small.repeat(8, 0).repeat(8, 1)
    (result,) = detector.detect([large])
    assert len(result) and result.masks.shape[1:] == (128, 128)
    assert result.boxes.max() <= 128
    for mask, (x0, y0, x1, y1) in zip(result.masks, result.boxes, strict=True):
        outside = mask.copy()
        outside[int(y0) - 2 : int(y1) + 2, max(0, int(x0) - 2) : int(x1) + 2] = False
        assert y0 < 2 or not outside.any()


def test_wrong_folders_and_options_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="batch size 0"):
        CenterNetDetector.load(Loading({"detector": folder}, batch_size=0, dtype="float32"))
    with pytest.raises(UsageError, match="int8"):
        CenterNetDetector.load(Loading({"detector": folder}, dtype="int8"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "widths": [8, 8, 16]}))
    with pytest.raises(HarnessError, match="does not hold the weights"):
        CenterNetDetector.load(Loading({"detector": folder}, dtype="float32"))
    (folder / "config.json").write_text(json.dumps({**config, "thresholds": {"guess": 1}}))
    with pytest.raises(HarnessError, match="not a centernet detector's"):
        CenterNetDetector.load(Loading({"detector": folder}, dtype="float32"))


def test_output_that_is_not_finite_is_no_empty_image() -> None:
    detector = CenterNetDetector(CenterNet(CONFIG), CONFIG, Loading(batch_size=2))
    with torch.no_grad():
        detector.network.centres[1].bias.fill_(float("nan"))
    with pytest.raises(BadAnswer, match="not finite") as caught:
        detector.detect([np.zeros((64, 64, 3), np.uint8)])
    assert caught.value.failure is Failure.BAD_NUMBER
