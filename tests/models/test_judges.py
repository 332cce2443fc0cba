from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.geneval import rules
from benchmarks.geneval.benchmark import GenEval
from benchmarks.geneval.judge import DetectorJudge, doubt, rank
from benchmarks.geneval.rules import Failure, FailureKind, sentences
from benchmarks.prompt_file import PromptFile
from harness.errors import HarnessError, UsageError
from harness.models.base import Judge
from harness.models.judges.none import NoJudge
from harness.models.judges.oracle import OracleJudge
from harness.models.suites import ModelSpec, Suite
from harness.records import FREE, Cost, Image, Prompt, Verdict
from harness.registry import JUDGES
from harness.testing.looks import JudgeContract

Pairs = list[tuple[Prompt, Image]]


def load(kind: str, spec: ModelSpec, **changes: Any) -> Any:
    benchmark = changes.pop("benchmark", GenEval())
    paths = {part: Path(ref) for part, ref in spec.checkpoints.items()}
    return JUDGES.get(kind).load(replace(spec.loading(paths), **changes), benchmark)


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    """One image each for four prompts of different tasks."""
    prompts = {prompt.tag: prompt for prompt in GenEval().prompts()}
    random = np.random.default_rng(0)
    chosen = [prompts[tag] for tag in ("single_object", "counting", "colors", "position")]
    return [(p, random.integers(0, 256, (32, 32, 3), np.uint8)) for p in chosen]


class TestNoJudge(JudgeContract):
    @pytest.fixture(scope="class")
    @classmethod
    def judge(cls) -> Judge:
        return load("none", ModelSpec())  # type: ignore[no-any-return]

    @pytest.fixture(scope="class")
    @classmethod
    def pairs(cls, pairs: Pairs) -> Pairs:
        return pairs


class TestOracleJudge(JudgeContract):
    @pytest.fixture(scope="class")
    @classmethod
    def judge(cls, tiny_suite: Suite) -> Judge:
        return load("oracle", tiny_suite.scorer)  # type: ignore[no-any-return]

    @pytest.fixture(scope="class")
    @classmethod
    def pairs(cls, pairs: Pairs) -> Pairs:
        return pairs

    def test_it_agrees_with_the_scorer(
        self, pairs: Pairs, answers: list[tuple[Verdict, Cost]], tiny_suite: Suite
    ) -> None:
        spec = tiny_suite.scorer
        paths = {part: Path(ref) for part, ref in spec.checkpoints.items()}
        scorer = GenEval().load_scorer(spec.loading(paths))
        scores = scorer.score([p for p, _ in pairs], [i for _, i in pairs])
        for (verdict, cost), (score, scorer_cost) in zip(answers, scores, strict=True):
            assert verdict.accepted == score.correct
            assert verdict.score == float(score.correct)
            assert verdict.sentence == score.reason.replace("\n", ". ")
            assert cost == scorer_cost


class TestDetectorJudge(JudgeContract):
    @pytest.fixture(scope="class")
    @classmethod
    def judge(cls, tiny_suite: Suite) -> Judge:
        return load("detector", tiny_suite.judge)  # type: ignore[no-any-return]

    @pytest.fixture(scope="class")
    @classmethod
    def pairs(cls, pairs: Pairs) -> Pairs:
        return pairs

    def test_it_costs_what_looking_costs(self, answers: list[tuple[Verdict, Cost]]) -> None:
        assert all(cost.flops > 0 for _, cost in answers)

    def test_what_it_rejects_it_explains(self, answers: list[tuple[Verdict, Cost]]) -> None:
        assert all(verdict.accepted != bool(verdict.sentence) for verdict, _ in answers)


class TestStrictDetectorJudge(TestDetectorJudge):
    @pytest.fixture(scope="class")
    @classmethod
    def judge(cls, tiny_suite: Suite) -> Judge:
        return load("detector", tiny_suite.judge, settings={"accept": 1.0})  # type: ignore[no-any-return]

    def test_it_is_never_sure_enough(self, answers: list[tuple[Verdict, Cost]]) -> None:
        assert not any(verdict.accepted for verdict, _ in answers)


SURE = {"cat": [0.99, 0.9, 0.2], "bed": [0.95]}


@pytest.mark.parametrize(
    ("include", "exclude", "words"),
    [
        ([("cat", 2), ("bed", 1)], [], "There should be 2 cat, but only 1 exists in image."),
        ([("cat", 1), ("bed", 1)], [], "There is no bed in image."),
        ([("cat", 2)], [("cat", 3)], "There should be 2 cat, but 3 exists in image."),
    ],
)
def test_a_doubt_is_about_the_least_certain_number(
    include: list[tuple[str, int]], exclude: list[tuple[str, int]], words: str
) -> None:
    metadata = {
        "include": [{"class": label, "count": count} for label, count in include],
        "exclude": [{"class": label, "count": count} for label, count in exclude],
    }
    assert doubt(metadata, SURE).sentence == words


def test_a_bar_sends_back_only_what_is_below_it(tiny_suite: Suite, pairs: Pairs) -> None:
    prompts, images = [p for p, _ in pairs], [i for _, i in pairs]
    lenient = load("detector", tiny_suite.judge)
    scores = [verdict.score for verdict, _ in lenient.judge(prompts, images, [0] * len(pairs))]
    bar = sorted(scores)[len(scores) // 2]
    strict = load("detector", tiny_suite.judge, settings={"accept": bar})
    for (before, _), (after, _) in zip(
        lenient.judge(prompts, images, [0] * len(pairs)),
        strict.judge(prompts, images, [0] * len(pairs)),
        strict=True,
    ):
        assert after.score == before.score
        assert after.accepted == (before.accepted and before.score >= bar)


def test_only_the_oracle_knows_the_answers() -> None:
    assert [cls.oracle for cls in (NoJudge, DetectorJudge, OracleJudge)] == [False, False, True]


def test_no_judge_accepts_nothing_and_costs_nothing(pairs: Pairs) -> None:
    answers = load("none", ModelSpec()).judge([pairs[0][0]], [pairs[0][1]], [1])
    assert answers == [(Verdict(accepted=False, score=0.0, sentence=""), FREE)]


@pytest.mark.parametrize("spec", [{"checkpoints": {"a": "b"}}, {"settings": {"a": 1}}])
def test_no_judge_has_no_use_for_anything(spec: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="no use for 'a'"):
        load("none", ModelSpec(**spec))


def test_a_benchmark_that_does_not_say_what_it_asks_for(tmp_path: Path, tiny_suite: Suite) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"prompt": "a cow in the rain"}\n')
    benchmark = PromptFile(path=str(file))
    with pytest.raises(UsageError, match="prompt-file"):
        load("detector", tiny_suite.judge, benchmark=benchmark)
    with pytest.raises(UsageError, match="needs a benchmark with a scorer"):
        load("oracle", tiny_suite.scorer, benchmark=benchmark)


def test_what_the_judge_is_given_wrongly_is_said(tiny_suite: Suite) -> None:
    with pytest.raises(UsageError, match="overlap"):
        load("detector", tiny_suite.judge, settings={"overlap": 0.5})
    with pytest.raises(HarnessError, match="detector"):
        load("detector", ModelSpec())


PUBLISHED = [
    (Failure(FailureKind.MISSING, "knife", 1, 0), "There is no knife in image."),
    (
        Failure(FailureKind.TOO_FEW, "clock", 3, 2),
        "There should be 3 clock, but only 2 exists in image.",
    ),
    (
        Failure(FailureKind.TOO_MANY, "clock", 3, 3),
        "There should be 2 clock, but 3 exists in image.",
    ),
    (
        Failure(FailureKind.WRONG_COLOR, "bench", 1, 0, color="red", colors=("blue",)),
        "The bench should be red, but it is blue.",
    ),
    (
        Failure(FailureKind.WRONG_COLOR, "bench", 2, 1, color="red", colors=("red", "blue")),
        "The bench should be red, but it is blue.",
    ),
    (
        Failure(
            FailureKind.WRONG_RELATION,
            "cell phone",
            1,
            1,
            relation="right of",
            relations=("left of",),
            target="chair",
        ),
        "cell phone should be right of the chair, but it is left of the chair.",
    ),
    (
        Failure(
            FailureKind.WRONG_RELATION, "cat", 1, 1, relation="above", relations=(), target="bed"
        ),
        "cat should be above the bed, but it is too close to the bed.",
    ),
    (
        Failure(FailureKind.NO_TARGET, "cat", 1, 1, relation="above", target="bed"),
        "",
    ),
]


@pytest.mark.parametrize(("failure", "words"), PUBLISHED)
def test_sentences_are_those_of_the_published_feedback(failure: Failure, words: str) -> None:
    assert failure.sentence == words


def test_every_kind_of_failure_has_its_words() -> None:
    assert {failure.kind for failure, _ in PUBLISHED} == set(FailureKind)


def test_several_failures_make_several_sentences() -> None:
    result = sentences([PUBLISHED[0][0], PUBLISHED[-1][0], PUBLISHED[3][0]])
    assert result == "There is no knife in image. The bench should be red, but it is blue."
    assert sentences([]) == ""


CASES: list[dict[str, Any]] = [
    {"tag": "single_object", "include": [{"class": "cat", "count": 1}]},
    {
        "tag": "counting",
        "include": [{"class": "cat", "count": 2}],
        "exclude": [{"class": "cat", "count": 3}],
    },
    {"tag": "colors", "include": [{"class": "cat", "count": 1, "color": "red"}]},
    {
        "tag": "position",
        "include": [
            {"class": "bed", "count": 1},
            {"class": "cat", "count": 1, "position": ["above", 0]},
        ],
    },
    {
        "tag": "color_attr",
        "include": [
            {"class": "cat", "count": 1, "color": "red"},
            {"class": "bed", "count": 1, "color": "blue"},
        ],
    },
]

detections = st.lists(
    st.tuples(
        st.sampled_from(["cat", "bed", "dog"]),
        st.floats(0.0625, 1, width=32),
        st.sampled_from(["red", "blue"]),
        st.integers(0, 40),
        st.integers(0, 40),
    ),
    max_size=6,
)


@given(st.sampled_from(CASES), st.lists(detections, min_size=2, max_size=6))
def test_accepted_images_always_rank_above_rejected_ones(
    metadata: dict[str, Any], scenes: list[list[tuple[str, float, str, int, int]]]
) -> None:
    ranks: dict[bool, list[float]] = {True: [0.75], False: [0.0]}
    for scene in scenes:
        outcome, score = look(metadata, scene)
        ranks[outcome.correct].append(score)
    assert all(0 <= score <= 1 for score in itertools.chain(*ranks.values()))
    assert min(ranks[True]) >= 0.75 and max(ranks[False]) < 0.5


def look(
    metadata: dict[str, Any], scene: list[tuple[str, float, str, int, int]]
) -> tuple[rules.Judgement, float]:
    labels = [label for label, *_ in scene]
    scores = np.array([score for _, score, *_ in scene], np.float32)
    boxes = np.array([(x, y, x + 8, y + 8) for *_, x, y in scene], np.float32).reshape(-1, 4)
    saved = rules.keep(labels, scores, boxes, tag=metadata["tag"])
    outcome = rules.judge(metadata, saved, boxes, lambda index: scene[index][2])
    result: dict[str, list[float]] = {}
    for label, score in zip(labels, scores, strict=True):
        result.setdefault(label, []).append(float(score))
    return outcome, rank(metadata, result, outcome.failures)


def test_the_rank_rises_as_an_image_comes_nearer() -> None:
    position = CASES[3]
    scenes: list[list[tuple[str, float, str, int, int]]] = [
        [],
        [("dog", 0.9, "red", 0, 0)],
        [("cat", 0.2, "red", 0, 0)],
        [("cat", 0.6, "red", 0, 0)],
        [("cat", 0.6, "red", 0, 40), ("bed", 0.8, "red", 0, 0)],
        [("cat", 0.6, "red", 0, 0), ("bed", 0.8, "red", 0, 40)],
        [("cat", 0.7, "red", 0, 0), ("bed", 0.8, "red", 0, 40)],
    ]
    ranks = [look(position, scene)[1] for scene in scenes]
    assert ranks[0] == ranks[1] == 0
    assert ranks[1:] == sorted(ranks[1:]) and len(set(ranks[1:])) == 6


def test_the_rank_by_hand() -> None:
    # Two cats asked for; three are there: the number is met, the limit is not.
    scene = [("cat", score, "red", 0, 0) for score in (1.0, 0.9375, 0.9375)]
    outcome, score = look(CASES[1], scene)
    number, limit = (1 + (1.0 + 0.9375) / 2) / 2, (0 + 1 - 0.9375) / 2
    assert not outcome.correct and score == (number + limit) / 2 / 2
    # A red and a blue object; the bed is red, too.
    outcome, score = look(CASES[4], [("cat", 0.5, "red", 0, 0), ("bed", 1.0, "red", 30, 0)])
    assert score == ((1 + 0.5) / 2 + 1 + 1 + 0) / 4 / 2
