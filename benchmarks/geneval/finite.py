"""Outputs of networks are finite, or refused."""

from __future__ import annotations

from torch import Tensor

from harness.errors import BadAnswer, Failure


def require_finite(what: str, where: str, *outputs: Tensor) -> None:
    """Refuse a network's output that is not finite, before NaN passes for an answer.

    Raises:
        BadAnswer: NaN or an infinity is among it.
    """
    if not all(bool(output.isfinite().all()) for output in outputs):
        raise BadAnswer(
            Failure.BAD_NUMBER,
            f"the {what}'s output is not finite ({where})",
            "try dtype float32; on a GPU, check that this build of torch supports it",
        )
