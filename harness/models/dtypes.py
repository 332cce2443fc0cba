"""Number formats of weights, by the names that suites and options give them."""

from __future__ import annotations

from typing import Literal

Dtype = Literal["auto", "float32", "bfloat16", "float16"]


def resolve_dtype(dtype: str, device: str) -> str:
    """Return the number format that "auto" stands for on a device; other names stay."""
    if dtype != "auto":
        return dtype
    return "float32" if device.startswith("cpu") else "bfloat16"
