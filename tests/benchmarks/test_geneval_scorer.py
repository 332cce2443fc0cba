from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.base import Scorer
from benchmarks.geneval.benchmark import GenEval
from benchmarks.geneval.colors import Crop
from benchmarks.geneval.detectors.base import Detections
from benchmarks.geneval.rules import Failure, FailureKind
from benchmarks.geneval.scorer import GenEvalScorer
from harness.errors import HarnessError, UsageError
from harness.records import Cost, Detection, Image, Loading, Prompt, Score
from harness.testing import ScorerContract

Planned = list[tuple[str, float, tuple[float, float, float, float], str]]


class PlannedDetector:
    """Finds what is planned for the image whose first pixel is its number."""

    def __init__(self, plans: list[Planned]) -> None:
        self.plans = plans

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        return [self._detections(image) for image in images]

    def flops(self, height: int, width: int) -> float:
        return float(height * width)

    def _detections(self, image: Image) -> Detections:
        plan = self.plans[image[0, 0, 0]]
        return Detections(
            labels=tuple(label for label, *_ in plan),
            scores=np.array([score for _, score, *_ in plan], np.float32),
            boxes=np.array([box for *_, box, _ in plan], np.float32).reshape(-1, 4),
            masks=np.zeros((len(plan), *image.shape[:2]), np.bool_),
        )


class PlannedColors:
    """Reads the colour from the plan, and keeps what it was asked."""

    flops_per_crop = 10.0

    def __init__(self, plans: list[Planned]) -> None:
        self.plans = plans
        self.asked: list[list[Crop]] = []

    def classify(self, crops: Sequence[Crop]) -> list[str]:
        self.asked.append(list(crops))
        return [
            next(
                color
                for label, _, box, color in self.plans[crop.image[0, 0, 0]]
                if label == crop.name and tuple(crop.box.tolist()) == box
            )
            for crop in crops
        ]


PLANS: list[Planned] = [
    [("cat", 0.9, (0, 0, 4, 4), "red"), ("dog", 0.5, (6, 0, 8, 4), "blue")],
    [("cat", 0.9, (0, 0, 4, 4), "blue"), ("cat", 0.2, (1, 0, 4, 4), "red")],
    [],
]


def prompt(tag: str, *include: dict[str, Any], **further: Any) -> Prompt:
    return Prompt(id=tag, text=tag, tag=tag, metadata={"include": list(include), **further})


RED_CAT = prompt("colors", {"class": "cat", "count": 1, "color": "red"})
TWO_CATS = prompt("counting", {"class": "cat", "count": 2}, exclude=[{"class": "cat", "count": 3}])
LEFT_CAT = prompt(
    "position",
    {"class": "dog", "count": 1},
    {"class": "cat", "count": 1, "position": ["left of", 0]},
)


def image(number: int, height: int = 8, width: int = 8) -> Image:
    return np.full((height, width, 3), number, np.uint8)


def scorer() -> GenEvalScorer:
    return GenEvalScorer(PlannedDetector(PLANS), PlannedColors(PLANS))


class TestGenEvalScorer(ScorerContract):
    @pytest.fixture(scope="class")
    @classmethod
    def scorer(cls) -> Scorer:
        return scorer()

    @pytest.fixture(scope="class")
    @classmethod
    def pairs(cls) -> list[tuple[Prompt, Image]]:
        return [(RED_CAT, image(0)), (LEFT_CAT, image(0)), (TWO_CATS, image(1))]


def test_is_a_scorer() -> None:
    assert isinstance(scorer(), Scorer)


def test_scores_log_every_detection_and_the_colours_asked_for() -> None:
    [(score, cost)] = scorer().score([RED_CAT], [image(1)])
    assert score == Score.of(
        correct=False,
        reason="expected red cat>=1, found 0 red; and 1 blue",
        evidence=(
            Detection("cat", (0.0, 0.0, 4.0, 4.0), float(np.float32(0.9)), "blue"),
            Detection("cat", (1.0, 0.0, 4.0, 4.0), float(np.float32(0.2)), None),
        ),
    )
    assert cost == Cost(flops=64 + 10)


def test_colours_of_all_images_are_asked_for_in_one_batch_and_only_where_needed() -> None:
    colors = PlannedColors(PLANS)
    judge = GenEvalScorer(PlannedDetector(PLANS), colors)
    results = judge.score(
        [RED_CAT, LEFT_CAT, RED_CAT, RED_CAT], [image(0), image(0), image(1), image(2)]
    )
    assert [score.correct for score, _ in results] == [True, True, False, False]
    assert [cost.flops for _, cost in results] == [74, 64, 74, 64]
    assert [len(batch) for batch in colors.asked] == [2]


def test_rows_do_not_depend_on_their_neighbours() -> None:
    prompts = [RED_CAT, TWO_CATS, LEFT_CAT, RED_CAT]
    images = [image(0), image(1), image(0, 10, 12), image(2)]
    together = scorer().score(prompts, images)
    alone = [scorer().score([p], [i])[0] for p, i in zip(prompts, images, strict=True)]
    backwards = scorer().score(prompts[::-1], images[::-1])[::-1]
    assert together == alone == backwards


def test_an_examination_says_what_is_wrong() -> None:
    seen = scorer().examine([TWO_CATS, LEFT_CAT, LEFT_CAT], [image(1), image(1), image(2)])
    assert seen[0].objects == {}  # counting keeps what is surer than 0.9 only
    assert seen[0].outcome.failures == (Failure(FailureKind.MISSING, "cat", 2, 0),)
    assert [failure.kind for failure in seen[1].outcome.failures] == ["missing", "no target"]
    assert [failure.kind for failure in seen[2].outcome.failures] == ["missing", "missing"]
    assert seen[1].objects == {"cat": (0,)}
    assert scorer().examine([RED_CAT], [image(0)])[0].colors == {0: "red"}


def test_overlap_is_passed_to_the_rules() -> None:
    plans: list[Planned] = [[("cat", 0.99, (0, 0, 4, 4), ""), ("cat", 0.95, (0, 0, 4, 5), "")]]
    verdicts = [
        GenEvalScorer(PlannedDetector(plans), PlannedColors(plans), max_overlap=overlap)
        .score([TWO_CATS], [image(0)])[0][0]
        .correct
        for overlap in (1.0, 0.5)
    ]
    assert verdicts == [True, False]


def test_no_rows() -> None:
    assert scorer().score([], []) == []


def test_a_prompt_of_another_benchmark_is_refused() -> None:
    with pytest.raises(HarnessError, match="'7'"):
        scorer().score([Prompt("7", "a cat")], [image(0)])
    with pytest.raises(ValueError, match="1 prompts for 0 images"):
        scorer().score([RED_CAT], [])


@pytest.mark.parametrize(
    ("options", "output", "hint"),
    [
        ({"max_overlp": 0.5}, "max_overlp", "did you mean 'max_overlap'"),
        ({"backend": "mmdett"}, "mmdett", "did you mean 'mmdet'"),
        ({"resize": "int8"}, "resize=int8", "resize"),
        ({"max_overlap": 1.5}, "max_overlap=1.5", "max_overlap"),
    ],
)
def test_bad_options_are_usage_errors(options: dict[str, Any], output: str, hint: str) -> None:
    with pytest.raises(UsageError, match=output) as caught:
        GenEval().load_scorer(Loading({}, settings=options))
    assert hint in caught.value.hint


def test_missing_and_unknown_checkpoints_are_named(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="needs a checkpoint 'colors'"):
        GenEval().load_scorer(Loading({"detector": tmp_path}))
    with pytest.raises(HarnessError, match="no checkpoint 'color'") as caught:
        GenEval().load_scorer(Loading({"color": tmp_path}))
    assert "'colors'" in caught.value.hint
    with pytest.raises(HarnessError, match="not a checkpoint folder"):
        GenEval().load_scorer(Loading({"detector": tmp_path, "colors": tmp_path}))


def test_a_scorer_from_folders(tiny_mask2former: Any, tiny_clip: Path, tmp_path: Path) -> None:
    tiny_mask2former.save_pretrained(tmp_path)
    (tmp_path / "frame.json").write_text('{"long": 96, "short": 64}')
    checkpoints = {"detector": tmp_path, "colors": tiny_clip}
    options = {"resize": "float32", "max_overlap": 0.9}
    loaded = GenEval().load_scorer(Loading(checkpoints, batch_size=3, settings=options))
    assert isinstance(loaded, Scorer) and loaded.max_overlap == 0.9

    images = list(np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8))
    sure = loaded.examine([prompt("", {"class": "zebra", "count": 1})] * 4, images)
    classes = [next(iter(seen.objects)) for seen in sure]
    prompts = [prompt("", {"class": label, "count": 1, "color": "red"}) for label in classes]
    together = loaded.score(prompts, images)
    alone = [loaded.score([p], [i])[0] for p, i in zip(prompts, images, strict=True)]
    assert together == alone
    for score, cost in together:
        assert sum(detection.color is not None for detection in score.detections) == 1
        expected = loaded.detector.flops(64, 64) + loaded.classifier.flops_per_crop
        assert cost == Cost(flops=expected)
