"""Texts that a text encoder reads only the beginning of: which ones, of which prompts.

Two prompts that differ behind the last token that is read give one and the same image, so whoever
reads a score has to know of them. A generator that can tell says so (`truncation` in
`harness.models.base.GeneratorFactory`); of any other it is unknown, which is not the same as none.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import shortened
from harness.records import Request

TEXTS = ("text", "feedback", "negative_prompt")
"""What of a request may be cut: its text, the sentence of a feedback, the negative prompt."""

Truncation = Callable[[Request[Any]], Collection[str]]
"""Return which of a request's texts (`TEXTS`) are longer than the text encoder takes."""


def truncation_of(factory: Any, checkpoints: Mapping[str, Path]) -> Truncation | None:
    """Return what tells which texts of a request a generator cuts; None if it cannot tell.

    Raises:
        HarnessError: A checkpoint is damaged.
    """
    load = getattr(factory, "truncation", None)
    truncation: Truncation | None = load(checkpoints) if load else None
    return truncation


@dataclass(frozen=True)
class Truncated:
    """The prompts of which texts are cut.

    Attributes:
        known: Of how many of them it is known whether texts are cut.
        ids: By text (of `TEXTS`), the ids of the prompts for which it is cut, in order.
    """

    prompts: int
    known: int
    ids: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, prompts: int, texts: Iterable[tuple[str, Collection[str] | None]]) -> Truncated:
        """Collect what is known of each prompt, or each draw.

        `texts` are pairs of a prompt's id and which texts of a request for it are cut, None where
        nobody knows.
        """
        known: set[str] = set()
        ids: dict[str, set[str]] = {text: set() for text in TEXTS}
        for prompt_id, cut in texts:
            if cut is not None:
                known.add(prompt_id)
                for text in cut:
                    ids.setdefault(text, set()).add(prompt_id)
        return cls(prompts, len(known), {text: tuple(sorted(of)) for text, of in ids.items() if of})

    @property
    def sentences(self) -> list[str]:
        """One for each text that is cut: of how many prompts, and the first of their ids."""
        return [
            f"the text encoder cuts the {text.replace('_', ' ')} of {len(ids)} of {self.known} "
            f"prompts, by id: {shortened(list(ids))}"
            for text, ids in self.ids.items()
        ]

    @property
    def summary(self) -> str:
        """Return one line on what is known, nothing and no cut text included."""
        unknown = self.prompts - self.known
        if not self.known:
            return "not recorded"
        parts = self.sentences or [f"no text of {self.known} prompts"]
        return "; ".join([*parts, *([f"{unknown} not recorded"] if unknown else [])])
