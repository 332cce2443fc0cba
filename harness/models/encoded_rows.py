"""Encoded prompts of single rows put together into those of a batch, where they fit."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any


class Uneven(Exception):
    """Rows whose encoded prompts do not fit into one batch.

    Attributes:
        kinds: What rows must have in common, a row.
    """

    def __init__(self, kinds: Sequence[Hashable]) -> None:
        super().__init__("rows of several shapes")
        self.kinds = list(kinds)


def _parts(encoded: Any) -> tuple[Any, ...]:
    return encoded if isinstance(encoded, tuple) else (encoded,)


def kind_of(encoded: Any, *, lengths: bool) -> Hashable:
    """Return what of a row's encoding others in its batch must have in common with it."""
    import torch

    kinds: list[Hashable] = []
    for part in _parts(encoded):
        for tensor in part if isinstance(part, list) else [part]:
            if isinstance(tensor, torch.Tensor):
                whole = lengths and not tensor.is_floating_point()
                kinds.append((tuple(tensor.shape), int(tensor.sum()) if whole else 0))
            else:
                kinds.append(repr(tensor))
    return tuple(kinds)


def joined(rows: list[Any]) -> Any:
    """Return one output of `encode_prompt` for all rows; what has no rows is the first one's."""
    import torch

    first = rows[0]
    if isinstance(first, list):
        return [item for row in rows for item in row]
    if isinstance(first, torch.Tensor) and first.dim() > 1 and len(first) == 1:
        return torch.cat(rows)
    return first
