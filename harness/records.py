"""The records everything else passes around: frozen, typed, free of models and files.

These are the project's words (prompt, draw, feedback, candidate, verdict, score, cost) as
data. A strategy sees `Task`, `Draw` and `Candidate` only; `Score` never reaches it, which is
what keeps a result from being an unlabelled oracle's. A model sees `Request` or `Look`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Generic

import numpy as np
import numpy.typing as npt
from typing_extensions import TypeVar

Image = npt.NDArray[np.uint8]
"""RGB pixels, shape (height, width, 3)."""

Picture = TypeVar("Picture", default=Image)
"""An image as it is at hand: pixels where models run, an encoded file on the way to them."""

MOST_DRAWS = MOST_REPLICATES = 1_000_000
"""Draws that a search may be allowed, and searches of a prompt. Somebody else's file is not to ask
for more than anybody can wait for."""

MOST_THREADS, LARGEST_BATCH, LARGEST_SEED = 4096, 65536, 2**63 - 1
"""Likewise of a worker's threads, the rows of a batch, and what a run's seed may be."""

Setting = str | int | float | bool | None
"""A sampler setting: a scalar that has one spelling in canonical JSON."""


class Role(StrEnum):
    """Who does a piece of work, and on whose account its cost is booked."""

    GENERATOR = "generator"
    JUDGE = "judge"
    SCORER = "scorer"


@dataclass(frozen=True, slots=True)
class Prompt:
    """One item of a benchmark.

    Attributes:
        id: Unique within the benchmark and stable between runs; noise seeds hang on it.
        text: What the generator is asked for.
        tag: The group it is reported under (GenEval's task), or "" without groups.
        metadata: What the scorer needs to know, JSON-like. Strategies never see it.
    """

    id: str
    text: str
    tag: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Feedback:
    """One (rejected image, sentence) pair that a later draw is conditioned on.

    Attributes:
        draw_id: Identity of the draw whose image it is.
        sentence: What was wrong with it.
    """

    draw_id: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Draw:
    """A strategy's request for one image.

    Attributes:
        index: Position in its search, from 0. It alone decides the noise (with run seed,
            prompt and replicate), so strategies that draw index 3 share its noise.
        feedback: Context the generator is conditioned on, in the order the strategy gives.
        text: A rewritten prompt, or None for the benchmark's own.
        settings: Sampler settings that differ from the run's, by name.
    """

    index: int
    feedback: tuple[Feedback, ...] = ()
    text: str | None = None
    settings: Mapping[str, Setting] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Request(Generic[Picture]):
    """A draw resolved: everything that determines its pixels, and nothing else.

    One type from the engine to the model, in the simulation and in the audit.

    Attributes:
        id: The draw's identity, a hash of the other fields (`harness.identity`).
        text: The prompt.
        noise_seed: Seed of the draw's own CPU noise generator.
        settings: Sampler settings, complete.
        feedback: Context, in the order the strategy gives.
        images: The images that the feedback is about, by draw id; there when a model gets it.
        rows: Rows of the batch that it runs in, padding included; 0 for the model's batch size.
    """

    id: str
    text: str
    noise_seed: int
    settings: Mapping[str, Setting]
    feedback: tuple[Feedback, ...] = ()
    images: Mapping[str, Picture] = field(default_factory=dict)
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Look(Generic[Picture]):
    """An image to be judged, scored or measured.

    Attributes:
        prompt: What it was made for.
        image: The image.
        seed: For a judge that samples its answer; derived from the draw's identity.
    """

    prompt: Prompt
    image: Picture
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Loading:
    """What a model is loaded from and how it is to run: the argument of every plug-in's `load`.

    Attributes:
        checkpoints: Local folder of each part, by the part's name in the suite. An oracle gets the
            scorer's.
        device: A torch device.
        dtype: "auto" (bfloat16 on a GPU, float32 on a CPU), "float32", "bfloat16" or "float16".
        batch_size: Rows of the one batch shape it runs at.
        settings: Further settings, as the suite gives them. A generator's are sampler settings
            that a request need not repeat.
    """

    checkpoints: Mapping[str, Path] = field(default_factory=dict)
    device: str = "cpu"
    dtype: str = "auto"
    batch_size: int = 1
    settings: Mapping[str, Setting] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the judge said of an image.

    Attributes:
        accepted: Whether the judge takes the image for correct.
        score: How good it finds the image; comparable within one judge only. Higher is better.
        sentence: What is wrong, in words; "" if nothing is.
    """

    accepted: bool
    score: float
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An answered draw, as a strategy sees it.

    Attributes:
        draw: The request it answers.
        id: The draw's identity.
        image: Digest of the pixels, or None if the draw failed.
        verdict: The judge's, or None if the draw failed.
        error: Why the draw failed, or None.
    """

    draw: Draw
    id: str
    image: str | None
    verdict: Verdict | None
    error: str | None = None

    @property
    def ok(self) -> bool:
        """Whether there is an image and a verdict to go by."""
        return self.error is None

    @property
    def accepted(self) -> bool:
        """Whether the judge accepted it (False for a failed draw)."""
        return self.verdict is not None and self.verdict.accepted

    @property
    def score(self) -> float:
        """The judge's score (minus infinity for a failed draw)."""
        return self.verdict.score if self.verdict is not None else float("-inf")


@dataclass(frozen=True, slots=True)
class Task:
    """What a strategy is told of one search: the prompt's text, never its answer key.

    Attributes:
        prompt: The prompt's text.
        budget: The most draws this search may make.
        seed: 64-bit seed for the strategy's own choices, derived from the run's seed, the
            prompt and the replicate.
    """

    prompt: str
    budget: int
    seed: int


@dataclass(frozen=True, slots=True)
class Detection:
    """One object a detector found, as it is logged.

    Attributes:
        label: Class name.
        box: x0, y0, x1, y1 in pixels.
        score: Confidence between 0 and 1.
        color: What the colour classifier calls it, or None if it was not asked.
    """

    label: str
    box: tuple[float, float, float, float]
    score: float
    color: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """One question about an image and how a model answered it, as it is logged.

    Attributes:
        question: What was asked.
        expected: The answer that the prompt calls for.
        answer: The model's; "" where only a probability was taken.
        probability: That the model gave to the expected answer, as the benchmark counts it (a sum
            over several spellings may exceed 1); None where only the answer was taken.
        weight: What it counts in the score.
        parents: Positions, among the image's answers, of the questions that this one hangs on.
        skill: Group it is reported under, or "".
    """

    question: str
    expected: str
    answer: str = ""
    probability: float | None = None
    weight: float = 1.0
    parents: tuple[int, ...] = ()
    skill: str = ""


Evidence = tuple[Detection, ...] | tuple[Answer, ...]
"""What a score follows from: detections, or answers by question. One kind, never both."""


@dataclass(frozen=True, slots=True)
class Score:
    """The scorer's grade for one image.

    Attributes:
        value: The grade, which curves, tables and intervals are of: 0 is worst, 1 is all that the
            prompt asks for. Not negative; reports never clip it.
        correct: Whether the scorer takes the image for right as a whole.
        reason: Every failure, one a line; "" if none.
        evidence: What the grade follows from: detections, best first within a class, or answers in
            the order of the questions.
    """

    value: float
    correct: bool
    reason: str = ""
    evidence: Evidence = ()

    @classmethod
    def of(cls, correct: bool, reason: str = "", evidence: Evidence = ()) -> Score:
        """Return the score of a benchmark that knows right and wrong only: 1 or 0."""
        return cls(1.0 if correct else 0.0, correct, reason, evidence)

    @property
    def detections(self) -> tuple[Detection, ...]:
        """The evidence, if it is detections."""
        return tuple(item for item in self.evidence if isinstance(item, Detection))

    @property
    def answers(self) -> tuple[Answer, ...]:
        """The evidence, if it is answers."""
        return tuple(item for item in self.evidence if isinstance(item, Answer))


@dataclass(frozen=True, slots=True)
class Cost:
    """What a role spent.

    Attributes:
        nfe: Evaluations of the denoising network, per image (guidance counts twice).
        flops: Floating-point operations, a multiply-add counted as two; None if nobody counted
            them, which makes every sum they belong to unknown too.
        device_seconds: Seconds a device was held, a batch's time shared by its rows.
        tokens: Tokens a language model read and wrote.
        rows: Rows that were computed for it: 1 and its share of the padding of its batch; None
            where nobody wrote it down.
    """

    nfe: int = 0
    flops: float | None = None
    device_seconds: float = 0.0
    tokens: int = 0
    rows: float | None = None

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.nfe + other.nfe,
            _sum(self.flops, other.flops),
            self.device_seconds + other.device_seconds,
            self.tokens + other.tokens,
            _sum(self.rows, other.rows),
        )


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


FREE = Cost(flops=0.0, rows=0.0)
"""The cost of what took no work."""


def total(costs: Sequence[Cost]) -> Cost:
    """Sum costs field by field."""
    return sum(costs, FREE)
