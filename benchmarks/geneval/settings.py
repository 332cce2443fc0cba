"""The scorer's settings and the checkpoints that it is made of, known without loading a library."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from benchmarks.geneval import rules
from harness.errors import UsageError, did_you_mean
from harness.registry import DETECTORS

DEFAULT_BACKEND = "transformers"
"""Runs a kind of detector under its own name."""

PARTS = {
    "detector": "the official one is an mmdet .pth file, to be converted to a folder",
    "colors": "the official one is openai/clip-vit-large-patch14",
}
"""Checkpoints a scorer is made of, and where to get them."""

OFFICIAL_PARTS = {
    "detector": "mask2former-swin-s-coco",
    "colors": "openai/clip-vit-large-patch14",
}
"""References of those that GenEval's authors use; the detector's is a converted folder's name."""


@dataclass(frozen=True, slots=True)
class Options:
    """Scorer settings; the defaults give the published protocol.

    Attributes:
        resize: How a Mask2Former's images are resized: "uint8" as mmdet 2.x, which the official
            scores come from, or "float32" as mmdet 3.x. None leaves it to the detector.
        backend: Which library runs the detector: "transformers", or another that is registered
            for its kind, such as "mmdet", a Mask2Former's original.
        max_overlap: IoU from which the worse of two objects of a class is dropped.
    """

    name: ClassVar[str] = "geneval scorer"

    resize: Literal["uint8", "float32"] | None = None
    backend: str = DEFAULT_BACKEND
    max_overlap: Annotated[float, Field(gt=0, le=1)] = rules.MAX_OVERLAP

    def __post_init__(self) -> None:
        names = backends()
        if self.backend not in names:
            raise UsageError(
                f"no detector is run by '{self.backend}'", did_you_mean(self.backend, names)
            )


def backends() -> list[str]:
    """Return the libraries that run detectors: after the slash in the names of `DETECTORS`."""
    others = {name.partition("/")[2] for name in DETECTORS.names() if "/" in name}
    return sorted({DEFAULT_BACKEND, *others})


def check_parts(parts: Collection[str], *, owner: str = "GenEval's scorer") -> None:
    """Hold the names of checkpoints to the scorer's parts, before any is loaded.

    Raises:
        UsageError: One too few, or one that there is not.
    """
    for part in parts:
        if part not in PARTS:
            raise UsageError(f"{owner} has no checkpoint '{part}'", did_you_mean(part, PARTS))
    for part, source in PARTS.items():
        if part not in parts:
            raise UsageError(f"{owner} needs a checkpoint '{part}'", source)
