"""The plug-ins held to their contracts: `pytest --pyargs example_plugins`."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.geneval.benchmark import GenEval
from example_plugins.benchmark import ColouredSquares, SquareScorer
from example_plugins.generator import SquareGenerator
from example_plugins.judge import SquareJudge
from example_plugins.metric import Vividness
from example_plugins.restating import RestatingJudge, restated
from example_plugins.strategy import SecondHalf
from harness.models.suites import load_suite, sampler_settings
from harness.records import Ability, Image, Inquiry, Loading, Prompt, Request
from harness.testing import (
    BenchmarkContract,
    GeneratorContract,
    JudgeContract,
    MetricContract,
    ScorerContract,
    StrategyContract,
    SuiteContract,
)

LOADING = Loading(dtype="float32", batch_size=4)


def some_requests() -> list[Request]:
    """A batch of three colours, each with noise of its own."""
    settings = sampler_settings(load_suite("squares").generator, {"obedience": 1.0})
    texts = ("a red square", "a blue square", "a white square")
    return [Request(f"id{n}", text, ((40 + n, 1.0),), settings) for n, text in enumerate(texts)]


def some_pairs() -> list[tuple[Prompt, Image]]:
    """Three prompts, each with an image; one of them is right."""
    images = [made.image for made in SquareGenerator().generate(some_requests())]
    prompts = {prompt.tag: prompt for prompt in ColouredSquares(each=1).prompts()}
    return list(zip((prompts[tag] for tag in ("red", "green", "blue")), images, strict=True))


class TestStrategy(StrategyContract):
    def strategy(self) -> SecondHalf:
        return SecondHalf()


class TestBenchmark(BenchmarkContract):
    @pytest.fixture
    def benchmark_plugin(self) -> ColouredSquares:
        return ColouredSquares()


class TestScorer(ScorerContract):
    @pytest.fixture(scope="class")
    @classmethod
    def scorer(cls) -> SquareScorer:
        return ColouredSquares().load_scorer(LOADING)

    @pytest.fixture(scope="class")
    @classmethod
    def pairs(cls) -> list[tuple[Prompt, Image]]:
        return some_pairs()


class TestJudge(JudgeContract):
    @pytest.fixture(scope="class")
    @classmethod
    def judge(cls) -> SquareJudge:
        return SquareJudge.load(LOADING, ColouredSquares())

    @pytest.fixture(scope="class")
    @classmethod
    def pairs(cls) -> list[tuple[Prompt, Image]]:
        return some_pairs()


class TestMetric(MetricContract):
    @pytest.fixture(scope="class")
    @classmethod
    def metric(cls) -> Vividness:
        return Vividness.load(LOADING)

    @pytest.fixture(scope="class")
    @classmethod
    def pairs(cls) -> list[tuple[Prompt, Image]]:
        return some_pairs()


class TestGenerator(GeneratorContract):
    @pytest.fixture(scope="class")
    @classmethod
    def generator(cls) -> SquareGenerator:
        return SquareGenerator.load(LOADING)

    @pytest.fixture(scope="class")
    @classmethod
    def requests(cls) -> list[Request]:
        return some_requests()

    @pytest.fixture(scope="class")
    @classmethod
    def other_setting(cls) -> dict[str, float]:
        return {"height": 48}


class TestSuite(SuiteContract):
    suite_name = "squares"


def test_the_prompt_s_colour_is_painted_more_often_than_others() -> None:
    """What a plug-in does beyond its contract has tests of its own."""
    requests = [
        Request(f"id{n}", "a green square", ((n, 1.0),), {"obedience": 1.0}) for n in range(4)
    ]
    images = [made.image for made in SquareGenerator().generate(requests)]
    assert all(np.array_equal(image[16, 16], (40, 180, 60)) for image in images)


def geneval() -> dict[str, Prompt]:
    """GenEval's prompts by their text."""
    return {prompt.text: prompt for prompt in GenEval().prompts()}


@pytest.mark.parametrize(
    ("text", "turned"),
    [
        ("a photo of a bird below a skateboard", "a photo of a skateboard above a bird"),
        ("a photo of a bench and a sports ball", "a photo of a sports ball and a bench"),
        ("a photo of two backpacks", ""),
        ("a photo of a giraffe", ""),
    ],
)
def test_a_prompt_is_turned_round_where_it_names_two_things(text: str, turned: str) -> None:
    assert restated(geneval()[text]) == turned


def test_a_rejected_wording_is_answered_with_the_other() -> None:
    judge = RestatingJudge(examiner=None)  # type: ignore[arg-type]  # replies look at no image
    assert Ability.REPLY in judge.abilities
    prompt = geneval()["a photo of a bird below a skateboard"]
    turned, text = restated(prompt), prompt.text
    first = f"The image should show: {text} You said of it: There is no bird. Write one prompt."
    second = f"The image should show: {text} It was drawn for the prompt: {turned} Write one."
    assert [reply for reply, _ in judge.reply([Inquiry(prompt, first)])] == [turned]
    assert [reply for reply, _ in judge.reply([Inquiry(prompt, second)])] == [text]
