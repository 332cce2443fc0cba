"""The layout of feedback as one sequence of tokens a row, and which of them take part in what.

The sequence of a row is image 1, sentence 1, image 2, sentence 2, … A guidance pair (the row
without and the row with the prompt) shares one length, its span: the row that ends first is
filled up with zeros, and these take part in the context blocks' attention like any token. That
is how the model was trained and published, one prompt at a time. Serving many prompts in one
batch adds padding of another kind, beyond the span, and that kind is masked everywhere, so that
each row comes out as its prompt would alone.

Source: Li et al., arXiv 2503.12271, and the behaviour of the public code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F

DROPPED_TEXT_TOKENS = 4
"""A row without feedback stands for one empty image and so many empty text tokens."""


class Context(NamedTuple):
    """The feedback of every row of a batch, as the transformer takes it.

    Attributes:
        tokens: Projected and normalised tokens, zeros where a row has none:
            (rows, length, channels).
        span: True up to the length of the row's guidance pair: these positions attend to each
            other in the context blocks. (rows, length), bool.
        mask: True where the captions' cross-attention sees the position. (rows, length), bool.
    """

    tokens: torch.Tensor
    span: torch.Tensor
    mask: torch.Tensor


def pair_length(sentence_lengths: Sequence[int], image_tokens: int, *, guided: bool) -> int:
    """The span of a draw's guidance pair, given the tokens of each feedback's sentence.

    If it is guided, the unconditional row is in the pair. At least one feedback is needed.
    """
    own = sum(image_tokens + length for length in sentence_lengths)
    return max(own, image_tokens + DROPPED_TEXT_TOKENS) if guided else own


def lay_out(
    rows: Sequence[torch.Tensor],
    spans: Sequence[int],
    image_tokens: int,
    length: int | None = None,
) -> Context:
    """Put the rows' tokens into one batch.

    Args:
        rows: Per row its tokens in order, (tokens, channels); a row of no tokens is one whose
            feedback is dropped.
        spans: Per row the length of its guidance pair.
        image_tokens: Tokens of one image.
        length: Positions to make, at least the longest span, which is the default.

    Raises:
        ValueError: A span is longer than `length`, or shorter than its row.
    """
    length = max(spans) if length is None else length
    lengths = [len(row) or image_tokens + DROPPED_TEXT_TOKENS for row in rows]
    if any(not own <= span <= length for own, span in zip(lengths, spans, strict=True)):
        raise ValueError(f"rows of {lengths} tokens and spans {spans} in {length} positions")
    tokens = torch.stack([F.pad(row, (0, 0, 0, length - len(row))) for row in rows])
    device = tokens.device
    place = torch.arange(length, device=device)
    end = torch.tensor(spans, device=device)[:, None]
    own_end = torch.tensor(lengths, device=device)[:, None]
    # The pair's last position is hidden from the captions, be it a token or padding: an
    # off-by-one of the published model that its weights were trained with.
    return Context(tokens, span=place < end, mask=(place < own_end) & (place < end - 1))
