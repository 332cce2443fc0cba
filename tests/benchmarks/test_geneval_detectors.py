"""Kinds of detector: behind one registry, loaded and probed alike."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmarks.geneval.detectors.base import Detections, Detector
from benchmarks.geneval.detectors.probe import (
    ANSWER_FILE,
    check_answer,
    fixed_picture,
    tolerance_of,
    write_answer,
)
from benchmarks.geneval.detectors.registry import factory_of, load_detector
from benchmarks.geneval.loading import load_scorer, self_test
from harness import flops
from harness.errors import HarnessError, UsageError
from harness.log.images import decode
from harness.models.checkpoints import BUNDLED
from harness.records import Image, Loading, Prompt
from harness.registry import DETECTORS, import_paths
from harness.testing import DetectorContract

CAT = Prompt("0", "a cat", "single_object", {"include": [{"class": "cat", "count": 1}]})


class TestMiniature(DetectorContract):
    @pytest.fixture(scope="class")
    @classmethod
    def detector(cls) -> Detector:
        return load_detector(Loading({"detector": BUNDLED / "detector"}, batch_size=2))

    @pytest.fixture(scope="class")
    @classmethod
    def images(cls) -> list[Image]:
        folder = BUNDLED / "detector" / "known_images"
        return [decode(path.read_bytes()) for path in sorted(folder.glob("*.png"))]


class Blind:
    """A third party's kind: it finds one cat in every image."""

    options: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def load(cls, loading: Loading) -> Blind:
        return cls()

    @classmethod
    def forward_pass(cls, folder: Path, height: int, width: int) -> Callable[[], Any] | None:
        return lambda: torch.ones(height, 2) @ torch.ones(2, width)

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        box, score = np.array([[0, 0, 4, 4]], np.float32), np.array([0.9], np.float32)
        return [Detections(("cat",), score, box, np.ones((1, *i.shape[:2]), bool)) for i in images]

    def flops(self, height: int, width: int) -> float:
        return 4.0 * height * width

    def probe(self, image: Image) -> torch.Tensor:
        return torch.ones(3)


@pytest.fixture
def blind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    kinds = {**DETECTORS.builtins, "blind": f"{__name__}:Blind"}
    monkeypatch.setitem(vars(DETECTORS), "builtins", kinds)
    (tmp_path / "config.json").write_text('{"model_type": "blind"}')
    return tmp_path


def test_every_kind_offers_what_is_asked_of_it() -> None:
    for name in DETECTORS.names():
        kind = DETECTORS.get(name)
        assert isinstance(kind.options, frozenset)
        assert all(callable(getattr(kind, method)) for method in ("load", "forward_pass"))
        assert issubclass(kind, Detector)


def test_a_kind_of_ones_own_scores_and_is_tested(blind: Path) -> None:
    parts = {"detector": blind, "colors": BUNDLED / "colors"}
    image = np.zeros((8, 8, 3), np.uint8)
    [(score, cost)] = load_scorer(Loading(parts)).score([CAT], [image])
    assert score.correct and cost.flops == 256
    assert self_test(Loading(parts)).distances["detector"] == 0
    forward = factory_of(blind).forward_pass(blind, 8, 8)
    assert forward is not None and flops.count(forward) == cost.flops
    with pytest.raises(UsageError, match="'resize' means nothing to a blind detector"):
        load_scorer(Loading(parts, settings={"resize": "uint8"}))
    with pytest.raises(UsageError, match="mmdet runs a mask2former detector"):
        load_scorer(Loading(parts, settings={"backend": "mmdet"}))


@pytest.mark.parametrize("kind", ["detector", "judge"])
def test_the_network_without_weights_takes_what_the_loaded_one_takes(kind: str) -> None:
    folder = BUNDLED / kind
    forward = factory_of(folder).forward_pass(folder, 64, 64)
    assert forward is not None
    assert flops.count(forward) == load_detector(Loading({"detector": folder})).flops(64, 64)


@pytest.mark.parametrize("kind", ["evil:run", "centernet:x", "mask2former/mmdet", None, [], {}, 1])
def test_a_checkpoint_names_a_known_kind_or_nothing(
    kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where code may be imported by path: that is the user's word, never a file's."""
    (tmp_path / "evil.py").write_text("raise SystemExit('was run')")
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    with import_paths(allowed=True), pytest.raises(HarnessError, match="expected one of"):
        load_detector(Loading({"detector": tmp_path}))
    assert "evil" not in sys.modules


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("picture", lambda picture: picture[:4]),
        ("picture", lambda picture: picture.float()),
        ("probabilities", lambda answer: answer[:2]),
        ("probabilities", lambda answer: answer * float("nan")),
        ("probabilities", torch.zeros_like),
        ("probabilities", lambda answer: answer.to(torch.int64)),
    ],
)
def test_a_stored_answer_that_is_none_is_one_sentence(
    name: str, change: Callable[[torch.Tensor], torch.Tensor], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(BUNDLED / "detector", tmp_path / "detector"))
    detector = load_detector(Loading({"detector": folder}))
    write_answer(detector, folder)
    check_answer(
        load_detector(Loading({"detector": folder}, batch_size=3)), folder, tolerance_of("float32")
    )
    stored = load_file(folder / ANSWER_FILE)
    save_file({**stored, name: change(stored[name]).contiguous()}, folder / ANSWER_FILE)
    with pytest.raises(HarnessError, match=r"known question wrongly|the picture in"):
        load_detector(Loading({"detector": folder}))


def test_deeply_nested_configurations_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[" * 100_000)
    with pytest.raises(HarnessError, match="cannot be read"):
        load_detector(Loading({"detector": tmp_path}))


def test_a_probe_is_of_one_shape(tiny_suite: Path) -> None:
    for folder in (BUNDLED / "detector", tiny_suite.parent / "tiny" / "detector"):
        one, three = (
            load_detector(Loading({"detector": folder}, batch_size=size)) for size in (1, 3)
        )
        assert one.probe(fixed_picture()).shape == three.probe(fixed_picture()).shape
