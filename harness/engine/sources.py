"""Sources of answers to draws and questions, besides the models.

The run's own log, other runs (`--reuse`), a folder of images (`score`), what another program left
behind (`import`): the engine asks them in this order, and models for what none of them knows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field

from harness.engine.jobs import Remote
from harness.records import Cost, Draw, Prompt, Question, Role, Score, Verdict


@dataclass
class Known:
    """The known answers to a draw or a question. Has state: roles fill it in.

    Attributes:
        id: The draw's identity where only the source knows it: the image was made elsewhere.
        png: The image, until the row is written: encoded, or a reference to where it lies.
        image: Digest of its pixels.
        shape: Batch shape of the image: only images of equal shape are looked at together.
        errors: Why a role gave up on it.
        attempts: Failed tries, by role.
        logged: Whether the run's own log holds it already.
        run: The other run whose log it is from; "" for this run's.
        unknown: Columns of its row that nobody knows.
    """

    id: str | None = None
    png: bytes | Remote | None = None
    image: str | None = None
    shape: Hashable = ()
    verdict: Verdict | None = None
    score: Score | None = None
    reply: str | None = None
    metrics: dict[str, float] | None = None
    errors: dict[Role, str] = field(default_factory=dict)
    costs: dict[Role, Cost] = field(default_factory=dict)
    workers: dict[Role, str] = field(default_factory=dict)
    batches: dict[Role, str] = field(default_factory=dict)
    attempts: Counter[Role] = field(default_factory=Counter)
    logged: bool = False
    run: str = ""
    unknown: tuple[str, ...] = ()

    @property
    def is_answered(self) -> bool:
        """True if the strategy can be told: verdict or reply is there, or there will be none."""
        failed = Role.GENERATOR in self.errors or Role.JUDGE in self.errors
        return failed or self.verdict is not None or self.reply is not None

    def lacks(self, role: Role) -> bool:
        """Return whether the judge, the scorer or the metrics have yet to look at the image."""
        answers = {Role.JUDGE: self.verdict, Role.SCORER: self.score, Role.METRIC: self.metrics}
        return self.png is not None and answers[role] is None and role not in self.errors


class Source(ABC):
    """May know what became of a draw, or of a question, so that no model need be asked."""

    @abstractmethod
    def answer(self, prompt: Prompt, replicate: int, draw: Draw, id: str) -> Known | None:
        """Return what is known of a draw, or None.

        Raises:
            HarnessError: What is known cannot be of this draw, or is damaged.
        """

    def reply(self, prompt: Prompt, replicate: int, question: Question) -> Known | None:
        """Return what is known of a question, or None.

        Raises:
            HarnessError: What is known cannot be of this question.
        """
        return None
