"""Benchmarks whose scorer asks questions about an image: what the questions are, and what follows.

A benchmark says what it asks and how answers become a grade; who answers is a vision-language model
(`benchmarks.vqa.reader`) or anything else with the same `ask`. Every answer is evidence, so that a
grade can be computed again without any model.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PositiveInt

from benchmarks.base import Benchmark, Scorer
from benchmarks.vqa.asking import ENOUGH, Answerer, Asked, Question, check_backend
from harness import options as plugin_options
from harness.errors import HarnessError
from harness.records import Answer, Cost, Evidence, Image, Loading, Prompt, Score

VLM = "vlm"
"""The one part of a scorer that asks a vision-language model."""

OFFICIAL = "Qwen/Qwen3-VL-8B-Instruct"
"""Who answers where nobody else is named: GenEval 2's own judge."""


@dataclass(frozen=True, slots=True)
class Options:
    """Options of a vision-language model. Its answers depend on all of these, if by little.

    Attributes:
        questions: Questions that are answered together.
        resize: Whose bicubic resampling images get: "torchvision" as officially, or "pillow",
            which differs by a grey level here and there (probabilities by up to 0.005).
    """

    name: ClassVar[str] = "scorer by questions"

    questions: Annotated[PositiveInt, Field(le=4096)] = 8
    resize: Literal["torchvision", "pillow"] = "torchvision"


@dataclass(frozen=True)
class QuestionBenchmark(Benchmark):
    """A benchmark whose scorer asks questions about an image."""

    matches_images: ClassVar[bool] = True

    Settings: ClassVar[type[Options]] = Options
    """The scorer's settings."""

    @abstractmethod
    def questions(self, prompt: Prompt, settings: Mapping[str, Any]) -> Sequence[Question]:
        """Return what is asked about every image that is made for a prompt.

        Raises:
            HarnessError: The prompt is none of the benchmark's.
        """

    @abstractmethod
    def asked(self, question: Question, settings: Mapping[str, Any]) -> Asked:
        """Return how a question is put."""

    @abstractmethod
    def grade(
        self, prompt: Prompt, answers: Sequence[Answer], settings: Mapping[str, Any]
    ) -> tuple[float, bool]:
        """Return the grade that follows from answers, and whether the image is right as a whole.

        Raises:
            HarnessError: None follows from these.
        """

    def images(self, image: Image) -> Sequence[Image]:
        """Return the images that are asked about, where one file holds several."""
        return [image]

    def word(self, token: str) -> str:
        """Return an answer as it counts, from the token as the model gave it."""
        return token

    def is_right(self, answer: Answer) -> bool:
        """Return whether an answer is the expected one."""
        return answer.probability is not None and answer.probability > ENOUGH

    def score(
        self, prompt: Prompt, answers: Sequence[Answer], settings: Mapping[str, Any]
    ) -> Score:
        """Return the score that follows from the answers about an image."""
        value, correct = self.grade(prompt, answers, settings)
        reason = "\n".join(
            f"{each.question} expected {each.expected}, answered {each.answer.strip() or 'nothing'}"
            for each in self._wrong(answers)
        )
        return Score(value, correct, reason, tuple(answers))

    def failure_kinds(self, score: Score) -> Sequence[str]:
        """Return the skills of the questions that are answered otherwise than expected."""
        return tuple(dict.fromkeys(each.skill or "question" for each in self._wrong(score.answers)))

    def _wrong(self, answers: Sequence[Answer]) -> list[Answer]:
        return [each for each in answers if each.weight > 0 and not self.is_right(each)]

    def rescore(self, prompt: Prompt, evidence: Evidence, settings: Mapping[str, Any]) -> Score:
        """Grade logged answers again (see `Benchmark.rescore`).

        Raises:
            HarnessError: They are not answers to what this benchmark asks for the prompt.
        """
        answers = [each for each in evidence if isinstance(each, Answer)]
        questions = self.questions(prompt, settings)
        logged = [replace(each, answer="", probability=None) for each in answers]
        expected = [_answer(each) for each in questions]
        times = len(logged) // len(expected) if expected else 0
        if len(answers) != len(evidence) or not times or logged != expected * times:
            raise HarnessError("the logged answers are not to the questions of its prompt")
        return self.score(prompt, answers, settings)

    def scorer_settings(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of `Settings`, complete.

        Raises:
            UsageError: A setting is unknown or its value is no good.
        """
        check_backend(settings)
        return plugin_options.resolved(
            plugin_options.build(self.Settings, settings, flag="-O", title=f"{self.name} scorer")
        )

    def load_scorer(self, loading: Loading) -> Scorer:
        """Load who answers, and check that it works here (see `Benchmark.load_scorer`)."""
        settings = self.scorer_settings(loading.settings)
        return QuestionScorer(self, self.load_answerer(loading, settings), settings)

    def load_answerer(self, loading: Loading, settings: Mapping[str, Any]) -> Answerer:
        """Load the vision-language model."""
        from benchmarks.vqa.loading import load_reader

        questions, resize = settings["questions"], settings["resize"]
        return load_reader(loading, VLM, questions=questions, resize=resize)


class QuestionScorer:
    """Asks a benchmark's questions about images, with complete settings. Has state: who answers."""

    def __init__(
        self, benchmark: QuestionBenchmark, answerer: Answerer, settings: Mapping[str, Any]
    ) -> None:
        self.benchmark = benchmark
        self.answerer = answerer
        self.settings = settings

    def score(self, prompts: Sequence[Prompt], images: Sequence[Image]) -> list[tuple[Score, Cost]]:
        """Grade image i for prompt i, in order (see `benchmarks.base.Scorer`)."""
        benchmark, settings = self.benchmark, self.settings
        questions = [benchmark.questions(prompt, settings) for prompt in prompts]
        pieces = [benchmark.images(image) for image in images]
        asked = [
            [benchmark.asked(one, settings) for one in each]
            for each, parts in zip(questions, pieces, strict=True)
            for _ in parts
        ]
        replies = iter(self.answerer.ask([part for parts in pieces for part in parts], asked))
        scores = []
        for prompt, each, parts in zip(prompts, questions, pieces, strict=True):
            own = [next(replies) for _ in parts]
            answers = [
                replace(
                    _answer(question),
                    answer=benchmark.word(token.text),
                    probability=token.probability,
                )
                for tokens, _ in own
                for question, token in zip(each, tokens, strict=True)
            ]
            cost = sum((cost for _, cost in own[1:]), own[0][1])
            scores.append((benchmark.score(prompt, answers, settings), cost))
        return scores


def _answer(question: Question) -> Answer:
    return Answer(
        question=question.text,
        expected=question.expected,
        weight=question.weight,
        parents=question.parents,
        skill=question.skill,
    )
