"""The scorer's settings and the checkpoints that it is made of, known without loading a library."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from benchmarks.geneval import rules
from harness.errors import UsageError, did_you_mean

PARTS = {
    "detector": "the official one is an mmdet .pth file, to be converted to a folder",
    "colors": "the official one is openai/clip-vit-large-patch14",
}
"""Checkpoints a scorer is made of, and where to get them."""

SPECIFIED = ("dtype", "batch_size")
"""Settings that suites and configs keep beside the others."""


@dataclass(frozen=True, slots=True)
class Options:
    """Scorer settings; the defaults give the published protocol.

    Attributes:
        dtype: Number format of both networks.
        batch_size: Images (for the colour classifier: objects) of the one batch shape.
        resize: How a Mask2Former's images are resized: "uint8" as mmdet 2.x, which the official
            scores come from, or "float32" as mmdet 3.x. None leaves it to the detector.
        backend: What runs a Mask2Former: "transformers", or "mmdet", the original.
        max_overlap: IoU from which the worse of two objects of a class is dropped.
    """

    name: ClassVar[str] = "geneval scorer"

    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    batch_size: Annotated[int, Field(ge=1)] = 1
    resize: Literal["uint8", "float32"] | None = None
    backend: Literal["transformers", "mmdet"] = "transformers"
    max_overlap: Annotated[float, Field(gt=0, le=1)] = rules.MAX_OVERLAP


def check_parts(parts: Collection[str], *, owner: str = "GenEval's scorer") -> None:
    """Hold the names of checkpoints to the scorer's parts, before any is loaded.

    Args:
        parts: The names.
        owner: Whose they are, for messages.

    Raises:
        UsageError: One too few, or one that there is not.
    """
    for part in parts:
        if part not in PARTS:
            raise UsageError(f"{owner} has no checkpoint '{part}'", did_you_mean(part, PARTS))
    for part, source in PARTS.items():
        if part not in parts:
            raise UsageError(f"{owner} needs a checkpoint '{part}'", source)
