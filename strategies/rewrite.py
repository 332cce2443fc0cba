"""Rewriting: the judge is shown the image and its own critique, and asked for a better prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from harness.records import Ability, Candidate, Draw, Question, Reply, Task
from strategies.base import Rounds, Strategy, best
from strategies.context import feedback_on

LONGEST = 1000
"""Characters of the longest prompt that is taken from a reply."""


@dataclass(frozen=True)
class Rewrite(Strategy):
    """Draws, asks the judge for a prompt that would mend the image, and draws with that.

    Prompt refinement in the loop, as in ReflectionFlow's prompt level (arXiv 2504.16080) and in
    arXiv 2603.00483. It ends at the first accepted image; otherwise the best by the judge's score
    is selected. Use it where the judge is a language model that can write, and failures come from
    how a prompt is put; it needs a judge that replies, and with "both" a generator that takes
    feedback.

    Attributes:
        use: What the next draw is given: the new "text", or "both" the text and the rejected image
            with its critique as feedback.
    """

    name: ClassVar[str] = "rewrite"
    needs_judge: ClassVar[bool] = True
    use: Literal["text", "both"] = "text"

    def needs(self) -> frozenset[Ability]:
        """Return the ability to reply, and with "both" that of feedback."""
        both = frozenset({Ability.FEEDBACK}) if self.use == "both" else frozenset()
        return frozenset({Ability.REPLY}) | both

    def search(self, task: Task) -> Rounds:
        """Draw, and rewrite what was rejected, until something is accepted."""
        seen: list[Candidate] = []
        text: str | None = None
        for index in range(task.budget):
            pairs = feedback_on(seen[-1:]) if self.use == "both" else []
            (candidate,) = yield [Draw(index, tuple(pairs), text)]
            seen.append(candidate)
            if candidate.accepted or index + 1 == task.budget:
                break
            if candidate.ok:
                (reply,) = yield [Question(index, question(task, candidate), (candidate.id,))]
                text = rewritten(reply) or text
        return seen[-1] if seen[-1].accepted else best(seen)


def question(task: Task, candidate: Candidate) -> str:
    """Return what the judge is asked about a rejected image."""
    sentence = candidate.verdict.sentence if candidate.verdict else ""
    critique = f" You said of it: {sentence}" if sentence else ""
    used = candidate.draw.text
    drawn = f" It was drawn for the prompt: {used}" if used else ""
    return (
        f"The image should show: {task.prompt}{drawn}{critique} Write one prompt for a "
        "text-to-image model that would make the image right. It must ask for everything that the "
        "image should show. Answer with the prompt alone."
    )


def rewritten(reply: Reply) -> str | None:
    """Return the prompt that a reply holds: its first line with text, without quotes; or None."""
    for line in reply.text.splitlines() if reply.ok else ():
        text = line.strip().strip("\"'`").strip()
        if text:
            return text[:LONGEST]
    return None
