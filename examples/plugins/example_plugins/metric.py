"""A metric: how far the square's colour is from grey, whatever the prompt asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from harness.records import Cost, Loading, Look


@dataclass(frozen=True)
class NoSettings:
    """It has none."""


class Vividness:
    """Measures the range between the channels, from 0 (grey) to 1."""

    Settings = NoSettings
    main_part: ClassVar[str] = ""
    checkpoints: ClassVar[Mapping[str, str]] = MappingProxyType({})

    @classmethod
    def load(cls, loading: Loading) -> Vividness:
        """Load nothing: there is no network."""
        return cls()

    def measure(self, looks: Sequence[Look]) -> list[tuple[float, Cost]]:
        """Return each image's mean range between its largest and its smallest channel."""
        return [(float(np.ptp(look.image, axis=2).mean()) / 255, Cost(flops=0.0)) for look in looks]
