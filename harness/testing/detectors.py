"""The promises of a detector of GenEval's. Subclass `DetectorContract` for yours.

class TestMine(DetectorContract):
    @pytest.fixture(scope="class")
    @classmethod
    def detector(cls):
        return MyDetector.load(Loading(...))

    @pytest.fixture(scope="class")
    @classmethod
    def images(cls):
        return [image, ...]
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks.geneval.classes import CLASSES
from benchmarks.geneval.detectors.base import Detections, Detector
from harness.records import Image


class DetectorContract:
    """Detections fit their image and depend on it alone; its probe is a plain tensor.

    Define the fixtures `detector`, loaded on the CPU, and `images`: at least two, in some of which
    it finds an object.
    """

    @pytest.fixture(scope="class")
    @classmethod
    def detections(cls, detector: Detector, images: list[Image]) -> list[Detections]:
        """Its detections in them, asked at once."""
        assert len(images) >= 2, "give at least two images"
        return detector.detect(images)

    def test_its_options_are_declared(self, detector: Detector) -> None:
        options = type(detector).options  # type: ignore[attr-defined]
        assert isinstance(options, frozenset) and all(isinstance(name, str) for name in options)

    def test_detections_fit_their_image(
        self, detections: list[Detections], images: list[Image]
    ) -> None:
        assert len(detections) == len(images)
        assert any(len(each) for each in detections), "give an image with an object in it"
        for each, image in zip(detections, images, strict=True):
            assert set(each.labels) <= set(CLASSES)
            assert np.isfinite(each.boxes).all()
            assert each.masks.dtype == np.bool_ and each.masks.shape[1:] == image.shape[:2]
            assert ((each.scores > 0) & (each.scores <= 1)).all()
            assert (np.diff(each.scores) <= 0).all(), "the best come first"

    def test_an_image_s_detections_depend_on_it_alone(
        self, detector: Detector, images: list[Image], detections: list[Detections]
    ) -> None:
        assert _equal([detector.detect([image])[0] for image in images], detections)
        assert _equal(detector.detect(images[::-1])[::-1], detections)

    def test_asking_again_gives_the_same_bits(
        self, detector: Detector, images: list[Image], detections: list[Detections]
    ) -> None:
        assert _equal(detector.detect(images), detections)

    def test_the_images_are_left_as_they_were(
        self, detector: Detector, images: list[Image]
    ) -> None:
        copies = [image.copy() for image in images]
        detector.detect(images)
        assert all(map(np.array_equal, images, copies))

    def test_flops_are_a_number(self, detector: Detector, images: list[Image]) -> None:
        flops = detector.flops(*images[0].shape[:2])
        assert math.isfinite(flops) and flops >= 0

    def test_its_probe_is_the_same_every_time(
        self, detector: Detector, images: list[Image]
    ) -> None:
        one, two = detector.probe(images[0]), detector.probe(images[0])
        assert str(one.dtype) == "torch.float32" and one.device.type == "cpu"
        assert one.equal(two) and one.isfinite().all()

    def test_no_images_no_detections(self, detector: Detector) -> None:
        assert detector.detect([]) == []


def _equal(one: Sequence[Detections], other: Sequence[Detections]) -> bool:
    return len(one) == len(other) and all(
        a.labels == b.labels
        and np.array_equal(a.scores, b.scores)
        and np.array_equal(a.boxes, b.boxes)
        and np.array_equal(a.masks, b.masks)
        for a, b in zip(one, other, strict=True)
    )
