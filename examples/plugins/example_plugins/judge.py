"""A judge: it accepts a square of the colour that the prompt asks for, and names another one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from benchmarks.base import Benchmark
from example_plugins.colours import colour_in, colour_of
from harness.records import Cost, Image, Loading, Prompt, Verdict


class SquareJudge:
    """Looks at the prompt's text and the image, never at the benchmark's answers."""

    oracle: ClassVar[bool] = False
    samples: ClassVar[bool] = False
    main_part: ClassVar[str] = ""

    @classmethod
    def load(cls, loading: Loading, benchmark: Benchmark) -> SquareJudge:
        """Load nothing: there is no network. Others load theirs onto the device here."""
        return cls()

    def judge(
        self, prompts: Sequence[Prompt], images: Sequence[Image], seeds: Sequence[int]
    ) -> list[tuple[Verdict, Cost]]:
        """Return a verdict on each image; what is accepted ranks above all that is not."""
        return [
            (_verdict(prompt, image), Cost(flops=0.0))
            for prompt, image in zip(prompts, images, strict=True)
        ]


def _verdict(prompt: Prompt, image: Image) -> Verdict:
    colour, distance = colour_of(image)
    if colour == colour_in(prompt.text):
        return Verdict(True, 1 - distance)
    return Verdict(False, -distance, f"The square is {colour}.")
