"""Questions about images as records, and who answers them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from harness.errors import UsageError
from harness.records import Cost, Image

ENOUGH = 0.5
"""Above this probability the expected answer counts as given."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question about an image.

    Attributes:
        text: As the benchmark's file has it.
        expected: The answer that the prompt calls for.
        skill: Group it is reported under.
        weight: What it counts in the score.
        parents: Positions of the questions it hangs on; what a benchmark's file names and lacks
            is -1 minus the number by which it is named.
    """

    text: str
    expected: str
    skill: str = ""
    weight: float = 1.0
    parents: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """One question as it is put to a model.

    Attributes:
        message: The whole text that follows the image.
        spellings: Of the answer whose probability is wanted.
        mended: Count every first token once, and none that is but a space. Officially the
            probability of a token is added once for each spelling that begins with it.
    """

    message: str
    spellings: tuple[str, ...]
    mended: bool = True


@dataclass(frozen=True, slots=True)
class FirstToken:
    """The first token of a model's answer.

    Attributes:
        text: The likeliest token.
        probability: Of the right answer, summed over its spellings' first tokens.
    """

    text: str
    probability: float


def check_backend(settings: Mapping[str, Any]) -> None:
    """Refuse vLLM, which a judge may be run by.

    Raises:
        UsageError: It is named.
    """
    if settings.get("backend") == "vllm":
        raise UsageError(
            "questions with probabilities are not asked through vLLM: it gives those of the "
            "likeliest tokens, and a zero for any other would spoil a geometric mean",
            "leave backend=vllm out; the judge vlm takes it (-J backend=vllm)",
        )


class Answerer(Protocol):
    """Answers questions about images in a word."""

    def ask(
        self, images: Sequence[Image], asked: Sequence[Sequence[Asked]]
    ) -> list[tuple[list[FirstToken], Cost]]:
        """Answer the questions of each image, in order; each depends on image and question alone.

        Raises:
            HarnessError: A question cannot be answered, whatever the image.
        """
        ...
