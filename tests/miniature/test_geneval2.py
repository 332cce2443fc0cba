"""The miniature's own GenEval 2: prompts in the official format, and a reader of scenes."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.geneval.classes import RELATIONS
from benchmarks.geneval.detectors.base import Detections
from benchmarks.geneval.prompts import Group
from benchmarks.geneval2.benchmark import validated
from benchmarks.geneval2.scoring import spellings
from benchmarks.vqa.asking import Asked
from harness.errors import HarnessError
from harness.miniature.geneval2 import MiniatureGenEval2, row
from harness.miniature.reading import load_reader, measure
from harness.miniature.scene_reader import SUREST, SceneReader, parse
from harness.miniature.words import vocabulary
from harness.records import Image
from harness.testing.benchmarks import BenchmarkContract


class TestPrompts(BenchmarkContract):
    @pytest.fixture
    def benchmark_plugin(self) -> MiniatureGenEval2:
        return MiniatureGenEval2()

    def test_they_are_of_atomicity_3_to_7_in_the_official_format(
        self, benchmark_plugin: MiniatureGenEval2
    ) -> None:
        prompts = benchmark_plugin.prompts()
        tags = [f"atomicity-{count:02d}" for count in range(3, 8) for _ in range(20)]
        assert [prompt.tag for prompt in prompts] == tags
        assert len({prompt.text for prompt in prompts}) == 100
        for prompt in prompts:
            known = validated(prompt.metadata)
            articles = sum(word in ("a", "an") for word in prompt.text.split())
            assert known["atom_count"] == len(known["vqa_list"]) - articles
            unknown = {*prompt.text.split()} - {*vocabulary()}
            assert all(word.endswith("es") for word in unknown)

    def test_every_question_can_be_parsed(self, benchmark_plugin: MiniatureGenEval2) -> None:
        for prompt in benchmark_plugin.prompts():
            kinds = [parse(question).kind for question, _ in prompt.metadata["vqa_list"]]
            assert kinds == prompt.metadata["skills"]

    def test_another_seed_has_ids_of_its_own(self) -> None:
        ids = {prompt.id for prompt in MiniatureGenEval2(size=2, seed=1).prompts()}
        assert not ids & {prompt.id for prompt in MiniatureGenEval2().prompts()}


def test_a_row_asks_as_geneval2_does() -> None:
    made = row([Group("cow", 2, "red"), Group("orange")], "left of")
    assert made["prompt"] == "two red cows left of an orange"
    assert made["atom_count"] == 5
    assert made["vqa_list"] == [
        ["How many cows are in the image?", "two"],
        ["Are the cows red?", "Yes"],
        ["Are there any cows in the image?", "Yes"],
        ["Are the cows left of the orange?", "Yes"],
        ["How many oranges are in the image?", "one"],
        ["Are there any oranges in the image?", "Yes"],
    ]
    assert made["include"][1] == {
        "class": "cow", "count": 2, "color": "red", "position": ["left of", 0],
    }  # fmt: skip


class Detector:
    """Sees two sure red cows, a doubtful one, and a cat to their right."""

    def detect(self, images: list[Image]) -> list[Detections]:
        boxes = np.array([[0, 0, 10, 10], [0, 20, 10, 30], [5, 40, 12, 50], [40, 10, 50, 20]])
        return [
            Detections(
                ("cow", "cow", "cow", "cat"),
                np.array([0.9, 0.8, 0.2, 0.95], np.float32),
                boxes.astype(np.float32),
                np.ones((4, *image.shape[:2]), bool),
            )
            for image in images
        ]

    def flops(self, height: int, width: int) -> float:
        return 1.0


class Red:
    flops_per_crop = 10.0

    def classify(self, crops: list[object]) -> list[str]:
        return ["red"] * len(crops)


def answer(question: str, expected: str = "Yes") -> tuple[str, float]:
    reader = SceneReader(Detector(), Red())  # type: ignore[arg-type]
    asked = [[Asked(f"{question} Answer in one word.", spellings(question, expected))]]
    [([token], _)] = reader.ask([np.zeros((64, 64, 3), np.uint8)], asked)
    return token.text, token.probability


def test_counts_follow_from_confidences() -> None:
    text, chance = answer("How many cows are in the image?", "two")
    exactly_two = 0.9 * 0.8 * 0.8 + (0.9 * 0.2 + 0.1 * 0.8) * 0.2
    assert (text, chance) == ("two", pytest.approx(exactly_two))
    assert answer("How many dogs are in the image?", "one") == ("zero", pytest.approx(1 - SUREST))


def test_objects_colours_and_positions() -> None:
    text, chance = answer("Are there any cows in the image?")
    assert (text, chance) == ("Yes", pytest.approx(1 - 0.1 * 0.2 * 0.8))
    assert answer("Are the cows red?") == ("Yes", pytest.approx(0.8))
    assert answer("Are the cows blue?")[0] == "No"
    assert answer("Is the dog red?")[0] == "No"
    assert answer("Are the cows left of the cat?") == ("Yes", pytest.approx(0.8))
    assert answer("Is the cat left of the cows?")[0] == "No"
    assert set(RELATIONS) == {"left of", "right of", "above", "below"}


def test_no_answer_is_surer_than_it_may_be() -> None:
    assert answer("Is the cow green?")[1] == pytest.approx(1 - SUREST)


@pytest.mark.parametrize("question", ["Is the cow running?", "", "How many unicorns are in it?"])
def test_a_question_of_another_kind_is_refused(question: str) -> None:
    with pytest.raises(HarnessError, match="cannot answer"):
        answer(question)


@pytest.mark.slow
def test_answers_about_scenes_that_nobody_has_seen_are_right(font: None) -> None:
    tally = measure(load_reader(), 40)
    assert set(tally) == {"attribute", "count", "object", "position"}
    for kind, (right, questions) in tally.items():
        assert right / questions > 0.9, kind
