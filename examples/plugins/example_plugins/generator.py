"""A generator: a square on a grey ground, sometimes in the colour that the prompt asks for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from example_plugins.colours import COLOURS, colour_in
from harness import options
from harness.errors import HarnessError
from harness.models.noise import noise_tensor
from harness.records import Ability, Cost, Image, Loading, Made, Request


@dataclass(frozen=True)
class SquareSettings:
    """Sampler settings (`-G name=value`): names, types and defaults, known without loading.

    Attributes:
        height: In pixels.
        width: In pixels.
        obedience: How often the square has the prompt's colour.
    """

    height: Annotated[int, Field(ge=16, le=1024)] = 32
    width: Annotated[int, Field(ge=16, le=1024)] = 32
    obedience: Annotated[float, Field(ge=0, le=1)] = 0.5


class SquareGenerator:
    """Paints from each request's own noise, so a row depends on itself alone."""

    Settings = SquareSettings
    abilities: ClassVar[frozenset[Ability]] = frozenset()
    takes_rows: ClassVar[bool] = False

    @classmethod
    def load(cls, loading: Loading) -> SquareGenerator:
        """Load nothing: there is no network. Others load theirs onto the device here."""
        return cls()

    def generate(self, requests: Sequence[Request]) -> list[Made]:
        """Paint an image for each request.

        Raises:
            harness.errors.HarnessError: Requests of unequal settings, or one with feedback.
        """
        if len({options.build(SquareSettings, r.settings, flag="-G") for r in requests}) > 1:
            raise HarnessError("the requests of a batch have unequal settings")
        if any(request.feedback for request in requests):
            raise HarnessError("squares are painted without feedback")
        return [Made(_paint(request), Cost(nfe=1, flops=0.0)) for request in requests]


def _paint(request: Request) -> Image:
    settings = options.build(SquareSettings, request.settings, flag="-G")
    noise = noise_tensor(request.noise, (settings.height, settings.width, 3)).numpy()
    image = np.clip(125 + 15 * noise, 0, 255).astype(np.uint8)
    luck, choice = (0.5 + 0.5 * math.erf(z / math.sqrt(2)) for z in noise[0, 0, :2])
    colour = colour_in(request.text)
    if not colour or luck >= settings.obedience:
        colour = list(COLOURS)[int(choice * len(COLOURS)) % len(COLOURS)]
    top, left = settings.height // 5, settings.width // 5
    image[top:-top, left:-left] = COLOURS[colour]
    return image
