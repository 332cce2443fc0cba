"""Drawing the tokens of an answer so that they depend on their row and its seed alone.

transformers' own sampling draws a whole batch from one global generator. Here each row has its
own, and whatever narrows the distribution first is transformers' own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.models.vlm_loading import check_finite

if TYPE_CHECKING:
    import torch


class Sampling(NamedTuple):
    """Sampling of a token, with the meanings and defaults of `generate`.

    Attributes:
        temperature: 0 takes the likeliest token.
        top_p: Draw among the likeliest tokens that together have this probability.
        top_k: Draw among so many of the likeliest tokens; 0 for all.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 50

    def warpers(self) -> list[Any]:
        """The classes of transformers that narrow the distribution accordingly."""
        from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

        warpers: list[Any] = [TemperatureLogitsWarper(self.temperature)]
        if self.top_k:
            warpers.append(TopKLogitsWarper(self.top_k))
        if self.top_p < 1:
            warpers.append(TopPLogitsWarper(self.top_p))
        return warpers


class Sampler:
    """A logits processor that draws each row's next token from the row's own generator.

    It leaves the drawn token as the only possible one, so that greedy decoding takes it. The
    generators draw on the CPU: equal seeds give equal noise on every device.

    Args:
        sampling: How to draw.
        seeds: One a row.
    """

    def __init__(self, sampling: Sampling, seeds: Sequence[int]) -> None:
        import torch

        self._warpers = sampling.warpers() if sampling.temperature > 0 else None
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Draw, by the race of exponentials: argmin of e / p is distributed as p."""
        import torch

        check_finite(scores)
        scores = scores.float()
        if self._warpers is not None:
            for warper in self._warpers:
                scores = warper(input_ids, scores)
            size = scores.shape[-1]
            races = [torch.empty(size).exponential_(generator=own) for own in self._generators]
            scores = scores.log_softmax(-1) - torch.stack(races).to(scores.device).log()
        drawn = scores.argmax(-1, keepdim=True)
        return torch.full_like(scores, float("-inf")).scatter(1, drawn, 0.0)
