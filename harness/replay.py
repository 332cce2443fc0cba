"""Drives strategies against a log: what a search did, or would do at another budget.

A strategy is deterministic given what it is sent. Sent the logged candidates it asks for the
logged draws again; at another budget, or with other options, for as many of them as it needs. A
draw is answered if all its fields are the logged ones. Any other answer would be a guess, so the
draw is reported as missing.

Only what a strategy may see is read from the log: its own draws and the judge's verdicts. A
decision that a replay repeats was therefore made without the scorer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import groupby
from typing import Any

import pyarrow as pa

from harness.engine.rows import logged_candidate, logged_draw
from harness.engine.searches import Search, SearchKey, drive
from harness.log.schema import DRAW, KEYS, VERDICT
from harness.records import Candidate, Draw
from harness.seeds import canonical_json

COLUMNS = (
    *KEYS["candidates"],
    "draw_id",
    *DRAW[1:],
    "image",
    *VERDICT,
    "judge_prompt",
    "error_role",
    "error",
    "round",
)
"""Columns that answers are made of."""

Row = Mapping[str, Any]

_PIECE = 8192


@dataclass(frozen=True, slots=True)
class MissingDraw:
    """A draw that a strategy asked for and the log does not hold.

    Attributes:
        index: Its index.
        differing: Fields in which the logged draw of this index is another; "" if there is none.
    """

    index: int
    differing: str = ""


@dataclass(frozen=True, slots=True)
class Replayed:
    """One search as its strategy does it.

    Attributes:
        asked: Indices of the draws that it asked for and the log holds, in its order.
        missing: Draws that it asked for and the log does not hold. The search goes no further than
            the round that they belong to.
        surplus: Indices of logged draws that it never asked for.
        rounds: Rounds in which it asked.
        selected: Index of the draw that it selected, or None.
        error: Why it failed, or None.
    """

    asked: tuple[int, ...]
    missing: tuple[MissingDraw, ...]
    surplus: tuple[int, ...]
    rounds: int
    selected: int | None
    error: str | None


class LoggedAnswers:
    """The answers that a log holds for one search. Has state: candidates that were built.

    Args:
        rows: The search's rows, with the columns `COLUMNS`.
        same_rounds: Hold draws to the round in which they were logged, too. At another budget a
            draw may belong to another round.
    """

    def __init__(self, rows: Iterable[Row], *, same_rounds: bool = False) -> None:
        self._rows = {row["draw_index"]: row for row in rows}
        self._same_rounds = same_rounds
        self._candidates: dict[int, Candidate] = {}

    @property
    def indices(self) -> set[int]:
        """Indices of the logged draws."""
        return set(self._rows)

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


def replay(search: Search, answers: LoggedAnswers) -> Replayed:
    """Drive a search from its start, answered from a log.

    Args:
        search: Not started yet; its budget and strategy need not be the logged ones.
        answers: What the log holds.
    """
    asked: list[int] = []
    missing: list[MissingDraw] = []

    def answer(draw: Draw) -> Candidate | None:
        known = answers.answer(draw, search.rounds)
        if isinstance(known, MissingDraw):
            missing.append(known)
            return None
        asked.append(draw.index)
        return known

    drive(search, search.start(), answer)
    selected = search.selected.draw.index if search.selected is not None else None
    surplus = answers.indices - set(asked) - {draw.index for draw in missing}
    return Replayed(
        tuple(asked),
        tuple(missing),
        tuple(sorted(surplus)),
        search.rounds,
        selected,
        search.error,
    )


def by_search(candidates: pa.Table) -> Iterator[tuple[SearchKey, list[Row]]]:
    """Yield the rows of each search, in order of draw index; a few thousand rows at a time.

    Args:
        candidates: Rows of the table of candidates, with the columns that name a row.
    """
    table = candidates.sort_by([(key, "ascending") for key in KEYS["candidates"]])
    rows = (row for piece in table.to_batches(max_chunksize=_PIECE) for row in piece.to_pylist())
    for key, group in groupby(rows, lambda row: SearchKey(row["prompt_id"], row["replicate"])):
        yield key, list(group)


def _differing(draw: Draw, row: Row) -> list[str]:
    """Return the names of the fields in which a draw is not the logged one."""
    try:
        logged = logged_draw(row)
        settings = canonical_json(dict(logged.settings))
    except (TypeError, ValueError):  # of a log that was edited
        return ["settings"]
    names = [
        field.name
        for field in fields(Draw)
        if field.name != "settings" and getattr(draw, field.name) != getattr(logged, field.name)
    ]
    return [*names, *(["settings"] if canonical_json(dict(draw.settings)) != settings else [])]
