"""Drives strategies against a log: what a search did, or would do at another budget.

A strategy is deterministic given what it is sent. Sent the logged candidates it asks for the
logged draws again; at another budget, or with other options, for as many of them as it needs. A
draw is answered if all its fields are the logged ones. Any other answer would be a guess, so the
draw is reported as missing.

Only what a strategy may see is read from the log: its own draws and the judge's verdicts. A
decision that a replay repeats was therefore made without the scorer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import groupby
from typing import Any, Protocol

import pyarrow as pa

from harness.engine.rows import logged_candidate, logged_draw, logged_reply
from harness.engine.searches import Search, SearchKey, drive
from harness.log.schema import DRAW, KEYS, QUESTION, WHOLE_VERDICT
from harness.records import Candidate, Draw, Question, Reply
from harness.seeds import canonical_json

COLUMNS = (*KEYS["candidates"], "draw_id", *DRAW[1:], "image", *WHOLE_VERDICT,
           "error_role", "error", "round")  # fmt: skip
"""Columns that answers are made of."""

Row = Mapping[str, Any]

REPLY = (*KEYS["replies"], *QUESTION[1:], "reply", "error", "round")
"""Columns that replies are made of."""

_PIECE = 8192


@dataclass(frozen=True, slots=True)
class MissingDraw:
    """A draw or a question that a strategy asked for and the log does not hold.

    Attributes:
        differing: Fields in which the logged one of this index is another, or what the draw is
            that no logged one is; "" if nothing is to be said.
        kind: "draw" or "question".
    """

    index: int
    differing: str = ""
    kind: str = "draw"


@dataclass(frozen=True, slots=True)
class Replayed:
    """One search as its strategy does it.

    Attributes:
        asked: Indices of the draws that it asked for and the log holds, in its order.
        missing: Draws that it asked for and the log does not hold. The search goes no further than
            the round that they belong to.
        surplus: Indices of logged draws that it never asked for.
        selected: Index of the draw that it selected, or None.
    """

    asked: tuple[int, ...]
    missing: tuple[MissingDraw, ...]
    surplus: tuple[int, ...]
    rounds: int
    selected: int | None
    error: str | None
    questions: int = 0


class LoggedAnswers:
    """The answers that a log holds for one search. Has state: candidates that were built.

    Args:
        rows: The search's rows, with the columns `COLUMNS`.
        replies: Its rows in the table of replies, with the columns `REPLY`.
        same_rounds: Hold draws to the round in which they were logged, too. At another budget a
            draw may belong to another round.
    """

    def __init__(
        self, rows: Iterable[Row], replies: Iterable[Row] = (), *, same_rounds: bool = False
    ) -> None:
        self._rows = {row["draw_index"]: row for row in rows}
        self._replies = {row["question_index"]: row for row in replies}
        self._same_rounds = same_rounds
        self._candidates: dict[int, Candidate] = {}

    @property
    def indices(self) -> set[int]:
        """Indices of the logged draws."""
        return set(self._rows)

    def reply(self, question: Question, round: int) -> Reply | MissingDraw:
        """Return the reply that a strategy is sent to a question, or why there is none."""
        row = self._replies.get(question.index)
        if row is None:
            return MissingDraw(question.index, kind="question")
        reply = logged_reply(row)
        differing = [
            name
            for name in ("text", "images")
            if getattr(question, name) != getattr(reply.question, name)
        ]
        if self._same_rounds and row["round"] != round:
            differing.append("round")
        if differing:
            return MissingDraw(question.index, ", ".join(differing), "question")
        return reply

    def answer(self, draw: Draw, round: int) -> Candidate | MissingDraw:
        """Return the candidate that a strategy is sent for a draw, or why there is none."""
        known = self._candidates.get(draw.index)
        # Settings count by their spelling: 1, 1.0 and True are equal and not the same.
        if known is not None and not draw.settings and known.draw == draw:
            return known
        row = self._rows.get(draw.index)
        if row is None:
            return MissingDraw(draw.index)
        differing = _differing(draw, row)
        if self._same_rounds and row["round"] not in (None, round):  # logs did not always have it
            differing.append("round")
        if differing:
            return MissingDraw(draw.index, ", ".join(differing))
        candidate = logged_candidate(row, draw)
        if not self._same_rounds:
            self._candidates[draw.index] = candidate
        return candidate


class Answers(Protocol):
    """A source of the answers to a search's draws and questions."""

    @property
    def indices(self) -> Collection[int]:
        """Indices of the draws that it holds."""

    def answer(self, draw: Draw, round: int) -> Candidate | MissingDraw:
        """Return the candidate that a strategy is sent for a draw, or why there is none."""

    def reply(self, question: Question, round: int) -> Reply | MissingDraw:
        """Return the reply that a strategy is sent to a question, or why there is none."""


def replay(search: Search, answers: Answers) -> Replayed:
    """Drive a search that is not started yet, answered from a log.

    Its budget and strategy need not be the logged ones.
    """
    asked: list[int] = []
    missing: list[MissingDraw] = []

    def answer(item: Draw | Question) -> Candidate | Reply | None:
        if isinstance(item, Draw):
            known = answers.answer(item, search.rounds)
            if not isinstance(known, MissingDraw):
                asked.append(item.index)
                return known
            missing.append(known)
            return None
        reply = answers.reply(item, search.rounds)
        if isinstance(reply, MissingDraw):
            missing.append(reply)
            return None
        return reply

    drive(search, search.start(), answer)
    selected = search.selected.draw.index if search.selected is not None else None
    surplus = set(answers.indices) - set(asked) - {m.index for m in missing if m.kind == "draw"}
    return Replayed(
        tuple(asked),
        tuple(missing),
        tuple(sorted(surplus)),
        search.rounds,
        selected,
        search.error,
        search.questions,
    )


def by_search(rows: pa.Table, name: str = "candidates") -> Iterator[tuple[SearchKey, list[Row]]]:
    """Yield the rows of each search, in order of their index; a few thousand rows at a time.

    They are of the named table of the log, with the columns that name a row.
    """
    table = rows.sort_by([(key, "ascending") for key in KEYS[name]])
    listed = (row for piece in table.to_batches(max_chunksize=_PIECE) for row in piece.to_pylist())
    for key, group in groupby(listed, lambda row: SearchKey(row["prompt_id"], row["replicate"])):
        yield key, list(group)


def _differing(draw: Draw, row: Row) -> list[str]:
    """Return the names of the fields in which a draw is not the logged one."""
    try:
        logged = logged_draw(row)
        settings = _canonical(logged.settings)
    except (TypeError, ValueError):  # of a log that was edited
        return ["settings"]
    names = [
        field.name
        for field in fields(Draw)
        if field.name != "settings" and getattr(draw, field.name) != getattr(logged, field.name)
    ]
    return [*names, *(["settings"] if _canonical(draw.settings) != settings else [])]


def _canonical(settings: Mapping[str, Any]) -> str:
    return canonical_json(dict(settings)) if settings else "{}"
