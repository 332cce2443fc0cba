"""What a vision-language model is asked as a judge, and what whoever runs it has to answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field, PositiveInt

from harness.errors import UsageError
from harness.records import Cost, Image, Loading

QUESTION = (
    "Please evaluate this generated image based on the following prompt: {prompt}. "
    "Focus on text alignment and compositionality."
)


@dataclass(frozen=True)
class VLMSettings:
    """The wording of the question, and how the answer is drawn and read.

    Attributes:
        question: What it is asked; "{prompt}" stands for the prompt.
        accepts: An answer that contains this accepts the image.
        stem: The words that the score's forward pass puts into the model's mouth ...
        verdict: ... and the next ones, whose probability is the score. Their leading space is
            part of the token in most vocabularies.
        ranked: Whether images are scored at all; without, half of the looking is saved, and all
            accepted images rank alike, as do all rejected ones.
        max_new_tokens: Tokens of the longest answer.
        temperature: Of sampling; 0 takes the likeliest token. By default the checkpoint's own
            (`generation_config.json`), as for `top_p` and `top_k`.
        top_p: Sample among the likeliest tokens that together have this probability.
        top_k: Sample among so many of the likeliest tokens.
        feedback: Which part of a rejecting answer becomes the feedback (`feedback`).
            "last-sentence": its last sentence. "published": what follows its last full stop, as
            the official script has it, which is nothing where an answer ends in one.
        backend: Who runs the model. "transformers": an answer hangs on its row and seed alone.
            "vllm": vLLM in this process (extra `vllm`), faster, and without that promise.
        gpu_memory_utilization: Share of the GPU's memory that vLLM takes; None for a half.
    """

    question: str = QUESTION
    accepts: Annotated[str, Field(min_length=1)] = "is correct"
    stem: str = "The image is"
    verdict: Annotated[str, Field(min_length=1)] = " correct"
    ranked: bool = True
    max_new_tokens: Annotated[int, Field(gt=0, le=65536)] = 128
    temperature: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: PositiveInt | None = None
    feedback: Literal["last-sentence", "published"] = "last-sentence"
    backend: Literal["transformers", "vllm"] = "transformers"
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] | None = None


class Sampling(NamedTuple):
    """Sampling of a token, as in `VLMSettings`; defaults are `generate`'s, top_k 0 means all."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 50

    def warpers(self) -> list[Any]:
        """The classes of transformers that narrow the distribution accordingly."""
        from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

        warpers: list[Any] = [TemperatureLogitsWarper(self.temperature)]
        if self.top_k:
            warpers.append(TopKLogitsWarper(self.top_k))
        if self.top_p < 1:
            warpers.append(TopPLogitsWarper(self.top_p))
        return warpers


class Asked(NamedTuple):
    """A question with its images, in this order, and the seed of its answer."""

    text: str
    images: Sequence[Image]
    seed: int


class Written(NamedTuple):
    """An answer.

    Attributes:
        text: In words.
        chance: The probability of the verdict's tokens; 0 where it was not asked for.
        cost: What both took.
    """

    text: str
    chance: float
    cost: Cost


class Writer(ABC):
    """Runs the model. Has state: the weights.

    Tokens are what the model read (once for the answer and once for the score) and wrote.

    Args:
        processor: Of the checkpoint.
        config: transformers' generation config of the checkpoint, for what the options leave open.
        settings: The options.

    Raises:
        UsageError: The verdict has no token.
    """

    def __init__(self, processor: Any, config: Any, settings: VLMSettings) -> None:
        self.processor = processor
        self.settings = settings
        values = {}
        for name, default in Sampling()._asdict().items():
            given = [getattr(source, name, None) for source in (settings, config)]
            values[name] = next((value for value in given if value is not None), default)
        self._sampling = Sampling(**values)
        ends = config.eos_token_id
        ends = processor.tokenizer.eos_token_id if ends is None else ends
        self._ends: list[int] = ends if isinstance(ends, list) else [ends]
        encode = processor.tokenizer.encode
        self._stem: list[int] = encode(settings.stem, add_special_tokens=False)
        self._verdict: list[int] = encode(settings.verdict, add_special_tokens=False)
        if not self._verdict:
            raise UsageError(f"the judge's verdict {settings.verdict!r} has no token")

    @classmethod
    @abstractmethod
    def load(cls, loading: Loading, settings: VLMSettings) -> Self:
        """Load the model and its processor (see `harness.models.judges.vlm.VLMJudge.load`).

        Raises:
            UsageError: No such device, a verdict without a token, or a library is not there.
            HarnessError: A checkpoint is missing, damaged or of another kind of model.
        """

    @abstractmethod
    def write(self, asked: Sequence[Asked], *, ranked: bool) -> list[Written]:
        """Answer up to a batch of questions.

        Args:
            asked: The questions.
            ranked: Whether the verdict's probability is asked for.

        Raises:
            HarnessError: An output is not finite.
        """

    def _answer(self, tokens: Iterable[int]) -> list[int]:
        """Return the tokens of an answer without what ends it."""
        return list(takewhile(lambda token: token not in self._ends, tokens))

    def _decode(self, tokens: Sequence[int]) -> str:
        return str(self.processor.tokenizer.decode(tokens, skip_special_tokens=True))

    def _counted(self, question: int, answer: int, *, ranked: bool) -> tuple[int, int]:
        """Return the tokens read and written, given those of a question and of its answer."""
        led_on = len(self._stem) + len(self._verdict)
        wrote = min(answer + 1, self.settings.max_new_tokens)  # what ends an answer is a token
        return question + (question + led_on) * ranked, wrote
