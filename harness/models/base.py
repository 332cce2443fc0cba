"""What a generator and a judge are. Scorers belong to their benchmark (`benchmarks.base`).

Models take lists and return lists, in order, one result a row. They run at one fixed batch
shape: given fewer rows than their batch size they pad, so that a row's bits depend on the row
alone, never on its neighbours, its position or how many there are. They report what they count
(NFE, FLOPs, tokens); the worker that runs them adds the device-seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from harness.records import Cost, Image, Prompt, Setting, Verdict


@dataclass(frozen=True, slots=True)
class FeedbackImage:
    """A feedback with its image at hand.

    Attributes:
        draw_id: Identity of the draw the image came from; a key to cache encodings by.
        image: Its pixels.
        sentence: What was wrong with it.
    """

    draw_id: str
    image: Image
    sentence: str


@dataclass(frozen=True, slots=True)
class Request:
    """A draw as the generator gets it: everything that determines its pixels, resolved.

    Attributes:
        id: The draw's identity.
        text: The prompt.
        noise_seed: Seed of the draw's own CPU noise generator.
        settings: Sampler settings, complete.
        feedback: Context, oldest first.
    """

    id: str
    text: str
    noise_seed: int
    settings: Mapping[str, Setting]
    feedback: tuple[FeedbackImage, ...] = ()


@runtime_checkable
class Generator(Protocol):
    """Makes images."""

    def generate(self, requests: Sequence[Request]) -> list[tuple[Image, Cost]]:
        """Answer up to `batch_size` requests of equal settings and equal number of feedbacks.

        Raises:
            harness.errors.HarnessError: A request asks for something this model cannot do.
        """
        ...


@runtime_checkable
class Judge(Protocol):
    """Accepts or rejects an image for a prompt, ranks it, and says what is wrong."""

    def judge(
        self, prompts: Sequence[Prompt], images: Sequence[Image], seeds: Sequence[int]
    ) -> list[tuple[Verdict, Cost]]:
        """Look at up to `batch_size` images.

        Args:
            prompts: What each image was made for.
            images: The images.
            seeds: One a row, derived from the draw's identity, for a judge that samples.
        """
        ...
