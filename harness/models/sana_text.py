"""The part of a text that SANA's encoder reads: so many tokens, after an instruction of its own.

Counted as diffusers' `SanaPipeline` does, which drops the rest with no more than a line in its log.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from harness.records import Request
from harness.truncation import Truncation


class EncodedTexts(NamedTuple):
    """Texts of a request that are encoded alike.

    Attributes:
        name: What they are (of `harness.truncation.TEXTS`).
        texts: The texts.
        length: Tokens that are read of each, its first among them.
        instructed: Whether the instruction comes before.
    """

    name: str
    texts: Sequence[str]
    length: int
    instructed: bool = False


def text_truncation(
    folder: Path, texts: Callable[[Request[Any]], Sequence[EncodedTexts]]
) -> Truncation:
    """Return what tells which texts of a request have more tokens than are read.

    Raises:
        HarnessError: The tokenizer is missing or damaged.
    """
    from harness.models.sana_loading import load_tokenizer

    tokenizer = load_tokenizer(folder)

    @lru_cache(maxsize=4096)
    def exceeds(text: str, length: int, instructed: bool) -> bool:
        text = text.lower().strip()
        if instructed:
            text = "\n".join(instruction()) + text
            length += instruction_tokens(tokenizer)
        # One more is enough to know, however long the text is.
        return len(tokenizer.encode(text, truncation=True, max_length=length + 1)) > length

    def truncated(request: Request[Any]) -> list[str]:
        return [
            of.name
            for of in texts(request)
            if any(exceeds(text, of.length, of.instructed) for text in of.texts)
        ]

    return truncated


def instruction() -> list[str]:
    """Return SANA's instruction, from the pipeline that owns it."""
    from diffusers import SanaPipeline

    default = inspect.signature(SanaPipeline.__call__).parameters["complex_human_instruction"]
    return list(default.default)


def instruction_tokens(tokenizer: Any) -> int:
    """Return by how many tokens an instructed text may be longer than one that is not."""
    return len(tokenizer.encode("\n".join(instruction()))) - 2
