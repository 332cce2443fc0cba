"""The records everything else passes around: frozen, typed, free of models and files.

These are the project's words (prompt, draw, question, candidate, verdict, score, cost) as data. A
strategy sees `Task`, `Draw`, `Question` and their answers only; `Score` never reaches it, which is
what keeps a result from being an unlabelled oracle's. A model sees `Request`, `Look` or `Inquiry`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Generic

import numpy as np
import numpy.typing as npt
from typing_extensions import TypeVar

from harness.scores import FREE as FREE
from harness.scores import Answer as Answer
from harness.scores import Cost as Cost
from harness.scores import Detection as Detection
from harness.scores import Evidence as Evidence
from harness.scores import Score as Score
from harness.scores import Verdict as Verdict
from harness.scores import add_known as add_known

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
    """The part of a run that does a piece of work, and to which its cost is booked."""

    GENERATOR = "generator"
    JUDGE = "judge"
    SCORER = "scorer"
    METRIC = "metric"


@dataclass(frozen=True, slots=True)
class Prompt:
    """One item of a benchmark.

    Attributes:
        id: Unique within the benchmark and stable between runs; noise seeds hang on it.
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
    """

    draw_id: str
    sentence: str


class Ability(StrEnum):
    """An ability that a strategy may need of models and not every model has."""

    FEEDBACK = "feedback"
    """A generator conditions draws on feedback; a judge says in words what is wrong."""

    PARTIAL = "partial"
    """A generator stops draws before their last step and continues them."""

    REPLY = "reply"
    """A judge answers questions in words."""


@dataclass(frozen=True, slots=True)
class Noise:
    """Noise, named by indices: they and the run's seed, prompt and replicate determine it.

    Attributes:
        index: Of the noise to begin with.
        turns: (other index, cosine) pairs; each turns the noise so far towards another one,
            ``z <- c * z + sqrt(1 - c * c) * other``, which is standard normal again.
    """

    index: int
    turns: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Start:
    """The state in which an earlier draw of the same search stopped.

    Attributes:
        draw_id: Identity of that draw, which has a `stop`.
        renoise: Steps that shall have been made: fresh noise (the new draw's) takes the state
            back to the noise level before this step. None continues where the draw stopped.
    """

    draw_id: str
    renoise: int | None = None


@dataclass(frozen=True, slots=True)
class Draw:
    """A strategy's request for one image, whole or up to a step.

    Attributes:
        index: Position in its search, from 0. Unless `noise` says otherwise it alone decides the
            noise (with run seed, prompt and replicate), so strategies share the noise of an index.
        feedback: Context the generator is conditioned on, in the order the strategy gives.
        text: A rewritten prompt, or None for the benchmark's own.
        settings: Sampler settings that differ from the run's, by name.
        noise: Which noise it begins with (or is renoised with); None for `Noise(index)`.
        start: The state it begins with, or None for noise.
        stop: Steps after which it stops, counted from the trajectory's beginning; its image is
            then a preview. None for all steps.
    """

    index: int
    feedback: tuple[Feedback, ...] = ()
    text: str | None = None
    settings: Mapping[str, Setting] = field(default_factory=dict)
    noise: Noise | None = None
    start: Start | None = None
    stop: int | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """A strategy's question to the judge, in words.

    Attributes:
        index: Position among its search's questions, from 0.
        text: What is asked, the prompt included where it matters.
        images: Identities of the draws whose images go along, in this order.
    """

    index: int
    text: str
    images: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """An answered question.

    Attributes:
        text: The judge's answer; "" if there is none.
        error: Why there is none, or None.
    """

    question: Question
    text: str = ""
    error: str | None = None

    @property
    def ok(self) -> bool:
        """True if the judge answered."""
        return self.error is None


@dataclass(frozen=True, slots=True)
class Request(Generic[Picture]):
    """A draw resolved: everything that determines its pixels, and nothing else.

    One type from the engine to the model, in the simulation and in the audit.

    Attributes:
        id: The draw's identity, a hash of the other fields (`harness.identity`).
        noise: (seed, cosine) pairs: the first seed's noise is turned towards each further one's
            (`harness.models.noise` makes the tensor). The first cosine is 1.
        settings: Sampler settings, complete.
        feedback: Context, in the order the strategy gives.
        images: The images that the feedback is about, by draw id; there when a model gets it.
        start: The earlier draw whose state it begins with, from which that state can be made
            again; None where it begins with noise.
        renoise: Steps to whose noise level that state is taken back first, or None.
        stop: Steps after which it stops; None for all.
        state: The state that `start` names, if it is at hand.
        rows: Rows of the batch that it runs in, padding included; 0 for the model's batch size.
    """

    id: str
    text: str
    noise: tuple[tuple[int, float], ...]
    settings: Mapping[str, Setting]
    feedback: tuple[Feedback, ...] = ()
    images: Mapping[str, Picture] = field(default_factory=dict)
    start: Request[Picture] | None = None
    renoise: int | None = None
    stop: int | None = None
    state: bytes | None = field(default=None, repr=False)
    rows: int = 0

    @property
    def seed(self) -> int:
        """Seed of the noise to begin with."""
        return self.noise[0][0]

    @property
    def first(self) -> int:
        """Steps that have been made before it begins."""
        if self.start is None:
            return 0
        return self.start.last if self.renoise is None else self.renoise

    @property
    def origin(self) -> int:
        """Steps made before the last fresh noise: what a solver remembers begins there."""
        if self.start is None:
            return 0
        return self.start.origin if self.renoise is None else self.renoise

    @property
    def last(self) -> int:
        """Steps that have been made when it ends."""
        return whole_steps(self.settings) if self.stop is None else self.stop


def whole_steps(settings: Mapping[str, Any]) -> int:
    """Return the denoising steps of a whole draw; 1 for a generator that has no such setting.

    Args:
        settings: Sampler settings; `num_inference_steps` counts.
    """
    steps = settings.get("num_inference_steps")
    return steps if isinstance(steps, int) and not isinstance(steps, bool) and steps > 0 else 1


@dataclass(frozen=True, slots=True)
class Made:
    """A generator's answer to a request.

    Attributes:
        image: The image, or the preview of a draw that stopped before its last step.
        cost: What it took.
        state: Where the draw stopped, for a request with a `stop`: all that continuing it takes,
            as safetensors. A cache, never a record: it can be made again from the request.
    """

    image: Image
    cost: Cost
    state: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Look(Generic[Picture]):
    """An image to be judged, scored or measured.

    Attributes:
        seed: For a judge that samples its answer; derived from the draw's identity.
    """

    prompt: Prompt
    image: Picture
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Loading:
    """A model's checkpoints and how it is to run: the argument of every plug-in's `load`.

    Attributes:
        checkpoints: Local folder of each part, by the part's name in the suite. An oracle gets the
            scorer's.
        dtype: "float32", "bfloat16" or "float16"; "auto" becomes what `resolve_dtype` says.
        batch_size: Rows of the one batch shape it runs at.
        settings: Further settings, as the suite gives them. A generator's are sampler settings
            that a request need not repeat.
    """

    checkpoints: Mapping[str, Path] = field(default_factory=dict)
    device: str = "cpu"
    dtype: str = "auto"
    batch_size: int = 1
    settings: Mapping[str, Setting] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", resolve_dtype(self.dtype, self.device))


def resolve_dtype(dtype: str, device: str) -> str:
    """Return the number format that "auto" stands for on a device; other names stay."""
    if dtype != "auto":
        return dtype
    return "float32" if device.startswith("cpu") else "bfloat16"


@dataclass(frozen=True, slots=True)
class Inquiry(Generic[Picture]):
    """A question resolved: what a judge that replies is asked.

    Attributes:
        seed: For a judge that samples its answer.
    """

    prompt: Prompt
    text: str
    images: tuple[Picture, ...] = ()
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Candidate:
    """An answered draw, as a strategy sees it.

    Attributes:
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
        """True if there is an image and a verdict to go by."""
        return self.error is None

    @property
    def accepted(self) -> bool:
        """True if the judge accepted it (False for a failed draw)."""
        return self.verdict is not None and self.verdict.accepted

    @property
    def score(self) -> float:
        """The judge's score (minus infinity for a failed draw).

        Which of two images is better is a question to `strategies.base.ranked`.
        """
        return self.verdict.score if self.verdict is not None else float("-inf")


@dataclass(frozen=True, slots=True)
class Task:
    """A strategy's view of one search: the prompt's text, never its answer key.

    Attributes:
        budget: The most this search may spend, in whole draws. A draw of fewer steps than `steps`
            counts its share.
        seed: 64-bit seed for the strategy's own choices, derived from the run's seed, the
            prompt and the replicate.
        steps: Denoising steps of a whole draw, so that the budget is `budget * steps` of them.
    """

    prompt: str
    budget: int
    seed: int
    steps: int = 1
