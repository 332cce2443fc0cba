"""A benchmark: a prompt for each colour, and the scorer that knows the right answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field

from benchmarks.base import Benchmark
from example_plugins.colours import COLOURS, colour_of
from harness.records import Cost, Detection, Evidence, Image, Loading, Prompt, Score


class SquareScorer:
    """Grades by the prompt's metadata, which no strategy and no judge sees."""

    def score(self, prompts: Sequence[Prompt], images: Sequence[Image]) -> list[tuple[Score, Cost]]:
        """Return a grade for each image, with the square's colour as its evidence."""
        return [
            (_grade(prompt, (_detect(image),)), Cost(flops=0.0))
            for prompt, image in zip(prompts, images, strict=True)
        ]


@dataclass(frozen=True)
class ColouredSquares(Benchmark):
    """A square in each of six colours.

    Attributes:
        each: Prompts for each colour.
    """

    name: ClassVar[str] = "coloured-squares"
    prompt_options: ClassVar[frozenset[str]] = frozenset({"each"})

    each: Annotated[int, Field(ge=1, le=1000)] = 2

    def prompts(self) -> list[Prompt]:
        """Return the prompts, by colour."""
        return [
            Prompt(f"{colour}-{n}", f"a {colour} square", colour, {"colour": colour})
            for colour in COLOURS
            for n in range(self.each)
        ]

    def rescore(self, prompt: Prompt, evidence: Evidence, settings: Mapping[str, Any]) -> Score:
        """Grade an image anew from its logged evidence, as an audit does."""
        return _grade(prompt, evidence)

    def load_scorer(self, loading: Loading) -> SquareScorer:
        """Load nothing: there is no network."""
        return SquareScorer()


def _detect(image: Image) -> Detection:
    colour, distance = colour_of(image)
    height, width, _ = image.shape
    return Detection("square", (0.0, 0.0, float(width), float(height)), 1 - distance, colour)


def _grade(prompt: Prompt, evidence: Evidence) -> Score:
    colours = [item.color for item in evidence if isinstance(item, Detection)]
    correct = colours == [prompt.metadata["colour"]]
    return Score.of(correct, "" if correct else f"expected {prompt.metadata['colour']}", evidence)
