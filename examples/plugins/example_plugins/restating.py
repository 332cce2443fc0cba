"""A judge that replies: GenEval's detector judge, which says a rejected prompt another way.

The prompts of GenEval that name two things can be turned round without changing what they ask
for: "a dog left of a cat" is "a cat right of a dog". A language model would find more to say; this
one needs none, and lets the strategy `rewrite` be tried on the miniature (`restating.toml`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from benchmarks.geneval.judge import DetectorJudge
from harness.miniature.prompts import OPPOSITE, from_metadata
from harness.models.base import Inquiry
from harness.records import Ability, Cost, Image, Prompt


class RestatingJudge(DetectorJudge):
    """Judges as the detector does; asked for a better prompt, it turns the prompt round."""

    abilities: ClassVar[frozenset[Ability]] = frozenset({Ability.FEEDBACK, Ability.REPLY})

    def reply(self, inquiries: Sequence[Inquiry[Image]]) -> list[tuple[str, Cost]]:
        """Return the wording that a question does not name yet; "" where there is one wording."""
        return [(_unused(each.prompt, each.text), Cost(flops=0.0)) for each in inquiries]


def _unused(prompt: Prompt, question: str) -> str:
    turned = restated(prompt)
    _, _, drawn = question.partition("It was drawn for the prompt: ")
    return prompt.text if turned and turned in drawn else turned


def restated(prompt: Prompt) -> str:
    """Return a prompt of GenEval with its two things in the other order; "" if it names one."""
    request = from_metadata({**prompt.metadata, "tag": prompt.tag})
    if len(request.groups) < 2:
        return ""
    relation = OPPOSITE[request.relation] if request.relation else None
    return type(request)(request.tag, request.groups[::-1], relation).text
