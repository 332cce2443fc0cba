"""The interface of strategies: a Python generator that asks for draws and answers with its choice.

It yields the draws it wants, and questions to the judge if it has any, receives the candidates and
replies back in the same order, and returns the candidate it selects. It never sees models, files,
time or the benchmark's score. Because it is deterministic given what it is sent, the log of
candidates and replies is enough to rebuild any point of any search; that is what resume, audit and
what-if replays rest on. So a strategy

- takes all randomness from `task.seed`,
- keeps its state in the generator's local variables,
- returns one of the candidates it was sent, or None if there is none worth returning.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field

from harness.records import Ability, Candidate, Draw, Question, Task

Rounds = Generator[Sequence[Draw | Question], Sequence[Any], Candidate | None]
"""Yields rounds of draws and questions, is sent a `Candidate` for each draw and a `Reply` for each
question, in their order, and returns the selected candidate."""

AtLeastOne = Annotated[int, Field(ge=1)]
"""An option that is a whole number from 1 on."""

Share = Annotated[float, Field(gt=0.0, lt=1.0)]
"""An option that is a share: neither nothing nor the whole."""


@dataclass(frozen=True)
class Strategy(ABC):
    """A search algorithm. A frozen dataclass: its fields are its options (`-S name=value`)."""

    name: ClassVar[str]
    """What it is called on the command line and in the log."""

    abilities: ClassVar[frozenset[Ability]] = frozenset()
    """What it asks of models that not every model can do, whatever its options: see `needs`."""

    can_rehearse: ClassVar[bool] = True
    """Whether a few dozen of its searches may be driven with made-up answers before a run, to see
    how many draws each round brings. False for one whose own work takes time or money."""

    needs_judge: ClassVar[bool] = False
    """Whether it chooses among draws by what the judge says of them.

    With several draws and `--judge none` it would keep one of them for no reason, so that is
    refused before anything is drawn.
    """

    needs_scale: ClassVar[bool] = False
    """Whether it reads the judge's scores as numbers, beyond which image is better (`ranked`).

    It is refused with a judge that only ranks the images of a search.
    """

    budget_only_limits: ClassVar[bool] = False
    """Whether the budget does nothing but end its searches: one that ended after n draws under some
    budget would have ended the same under every smaller one from n on.

    A curve then takes one replay where it would take one a budget. `harness.testing` holds it to
    its word.
    """

    def needs(self) -> frozenset[Ability]:
        """Return what it asks of models that not every model can do, given its options.

        FEEDBACK if draws have feedback, PARTIAL if they have a start or a stop, REPLY if it asks
        questions. A plan whose models lack one is refused; a search that does what its strategy
        does not name here fails.
        """
        return self.abilities

    def check(self, steps: int) -> None:
        """See that its options go together, and with draws of so many steps.

        Raises:
            ValueError: They do not. The message says why; nothing is drawn.
        """
        return

    @abstractmethod
    def search(self, task: Task) -> Rounds:
        """Search for one prompt.

        Args:
            task: The prompt's text, the budget and a seed for the strategy's own choices.

        Yields:
            The next round of draws and questions, with indices never used before in this search
            by a draw, or by a question. All draws of a run's searches are batched together, so a
            larger round costs no latency.

        Returns:
            The selected candidate, or None if every draw failed.
        """


def ranked(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates that did not fail, best first by the judge; earliest among equals.

    By its score; or, of a judge whose verdicts have members, by the mean of the ranks that the
    members give each among these candidates.
    """
    answered = [candidate for candidate in candidates if candidate.ok]
    members = [c.verdict.members for c in answered if c.verdict is not None and c.verdict.members]
    standing = [candidate.score for candidate in answered]
    if members:
        columns = [sorted(values) for values in zip(*members, strict=True)]
        # Twice the images below and once those level with it: whole numbers, best the largest.
        standing = [
            float(
                sum(
                    bisect_left(c, v) + bisect_right(c, v)
                    for c, v in zip(columns, row, strict=True)
                )
            )
            for row in members
        ]
    pairs = zip(standing, answered, strict=True)
    return [c for _, c in sorted(pairs, key=lambda pair: (-pair[0], pair[1].draw.index))]


def best(candidates: Sequence[Candidate]) -> Candidate | None:
    """The candidate that `ranked` has first; None if all failed."""
    return next(iter(ranked(candidates)), None)


def last(candidates: Sequence[Candidate]) -> Candidate | None:
    """The latest draw that did not fail, or None."""
    answered = [candidate for candidate in candidates if candidate.ok]
    return max(answered, key=lambda c: c.draw.index, default=None)
