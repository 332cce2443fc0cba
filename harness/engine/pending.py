"""Work under way: an open search, a draw or a question between its request and its row."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from harness.engine.jobs import BatchResult, Drawn
from harness.engine.searches import Search
from harness.engine.sources import Known
from harness.errors import Failure
from harness.identity import Earlier
from harness.records import Candidate, Draw, Question, Reply, Request, Role, Score, Verdict


@dataclass
class OpenSearch:
    """A search that has not been closed. Has state: all that belongs to it.

    Attributes:
        images: Digest of each answered draw's image, by the draw's id; None without one.
        requests: The draws that later ones may start from, resolved, by id.
        values: The scorer's grade of each scored draw, by its index.
        unlogged: Draws and questions on their way that have no row yet.
        is_closed: Whether its own row is written.
    """

    search: Search
    images: dict[str, str | None] = field(default_factory=dict)
    requests: Earlier = field(default_factory=dict)
    values: dict[int, float] = field(default_factory=dict)
    unlogged: int = 0
    is_closed: bool = False

    @property
    def is_done(self) -> bool:
        """True if it is to be closed: it has ended, and all that it asked for has its row."""
        return self.search.ended and not self.unlogged and not self.is_closed

    def note(self, pending: PendingDraw) -> None:
        """Remember how a draw that is in the log was graded."""
        if (score := pending.known.score) is not None:
            self.values[pending.draw.index] = score.value


@dataclass
class Pending:
    """A draw or a question on its way. Has state: what came back so far.

    Attributes:
        waiting: Roles that still have to answer before the row can be written.
        strikes: Failed tries that may have been its own fault, by role.
        round: In which of its search's rounds it was asked for, from 1; None if nobody knows.
    """

    open: OpenSearch
    known: Known = field(default_factory=Known, kw_only=True)
    waiting: set[Role] = field(default_factory=set, kw_only=True)
    strikes: Counter[Role] = field(default_factory=Counter, kw_only=True)
    is_sent: bool = field(default=False, kw_only=True)
    round: int | None = field(default=None, kw_only=True)

    def take(self, result: BatchResult, place: int) -> None:
        """Fill in a role's answer."""
        role, answer, known = result.job.role, result.answers[place], self.known
        self.waiting.discard(role)
        known.costs[role] = answer.cost
        known.workers[role] = result.worker
        known.batches[role] = str(result.job.id)
        if isinstance(answer, Drawn):
            known.png, known.image = answer.png, answer.digest
            return
        match answer.value:
            case Verdict() as verdict:
                known.verdict = verdict
            case Score() as score:
                known.score = score
            case str() as reply:
                known.reply = reply
            case metrics:
                known.metrics = metrics

    def answer(self) -> Candidate | Reply:
        """Return what the strategy is told."""
        raise NotImplementedError

    def fail(self, result: BatchResult, most: int) -> bool:
        """Count a failed try; return whether the role is to try again."""
        role = result.job.role
        self.known.attempts[role] += 1
        if result.failure is Failure.NODE_LOST:  # no draw takes a machine out of its cluster
            return True
        self.strikes[role] += 1
        if self.strikes[role] < most:
            return True
        self.known.errors[role] = result.error or ""
        self.waiting.discard(role)
        return False


@dataclass
class PendingDraw(Pending):
    """A draw on its way through generator, judge, scorer and metrics."""

    draw: Draw
    request: Request[Any]

    def answer(self) -> Candidate:
        """Return what the strategy is told: no score or metric, nor a failure of these."""
        known = self.known
        error = known.errors.get(Role.GENERATOR, known.errors.get(Role.JUDGE))
        return Candidate(self.draw, self.request.id, known.image, known.verdict, error)


@dataclass
class PendingQuestion(Pending):
    """A question on its way to the judge."""

    question: Question

    def answer(self) -> Reply:
        """Return what the strategy is told."""
        return Reply(self.question, self.known.reply or "", self.known.errors.get(Role.JUDGE))
