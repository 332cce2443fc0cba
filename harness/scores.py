"""What models say of an image, and what a model's work costs: verdicts, scores, costs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verdict:
    """A judge's opinion of an image.

    Attributes:
        accepted: Whether the judge takes the image for correct.
        score: How good it finds the image; comparable within one judge only. Higher is better.
        sentence: What is wrong, in words; "" if nothing is.
        prompt: A better wording of the prompt, if the judge offers one.
        members: Where images are ranked against the others of their search: what each member of
            the judge gives this one. () where the score ranks.
    """

    accepted: bool
    score: float
    sentence: str = ""
    prompt: str | None = None
    members: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Detection:
    """One object a detector found, as it is logged.

    Attributes:
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
    """The cost of a role's work.

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
            add_known(self.flops, other.flops),
            self.device_seconds + other.device_seconds,
            self.tokens + other.tokens,
            add_known(self.rows, other.rows),
        )


def add_known(one: float | None, other: float | None) -> float | None:
    """Return a sum that is unknown where a part of it is."""
    return None if one is None or other is None else one + other


FREE = Cost(flops=0.0, rows=0.0)
"""The cost of what took no work."""
