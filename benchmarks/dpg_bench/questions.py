"""DPG-Bench's file of questions, read as the official program reads it.

Source: `prepare_dpg_data` of `dpg_bench/compute_dpg_bench.py` in github.com/TencentQQGYLab/ELLA at
3c228f1. Two of its faults change scores, so both are options or said aloud: the first row of
questions is lost, and rows of an item that do not stand together replace those before them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass

from harness.errors import UsageError, shortened

NO_PARENT = 0

MAX_NUMBER = 1_000_000

_ID, _NUMBER, _PARENTS, _TUPLE = "item_id", "proposition_id", "dependency", "tuple"
_QUESTION, _TEXT = "question_natural_language", "text"
_NEEDED = (_ID, _TEXT, _NUMBER, _PARENTS, _TUPLE, _QUESTION)

COLUMNS = (_ID, _TEXT, "keywords", _NUMBER, _PARENTS, "category_broad", "category_detailed",
           _TUPLE, _QUESTION)  # fmt: skip
"""Of the official file."""


@dataclass(frozen=True, slots=True)
class Proposition:
    """One thing that a prompt says, and the question about it.

    Attributes:
        number: Its `proposition_id`, by which others name it as a parent.
        question: What is asked.
        category: Its L2 category, such as "entity - whole" or "global -".
        parents: Numbers of the propositions that it depends on, as given; `NO_PARENT` among them.
    """

    number: int
    question: str
    category: str
    parents: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Item:
    """One prompt with its propositions in the order of the file, each number once."""

    id: str
    text: str
    propositions: tuple[Proposition, ...]


@dataclass(frozen=True)
class QuestionFile:
    """A file of questions as read.

    Attributes:
        items: By id, in the order in which they first occur.
        lost_row: Item and number of the row that was skipped; None if it was kept.
        replaced: Ids of items whose later rows replaced earlier ones.
    """

    items: Mapping[str, Item]
    lost_row: tuple[str, int] | None = None
    replaced: tuple[str, ...] = ()


def parse_questions(text: str, source: str, *, skip_first: bool) -> QuestionFile:
    """Read the text of a file with the official columns, one question a row.

    Args:
        text: The file's.
        source: Its name, for messages.
        skip_first: Lose the first row of questions, as the official program does.

    Raises:
        UsageError: It lacks a column, or a row holds what no proposition can be. The message names
            the line.
    """
    items: dict[str, tuple[str, dict[int, Proposition]]] = {}
    replaced: list[str] = []
    lost: tuple[str, int] | None = None
    previous = ""
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = reader.fieldnames or ()
        if absent := [name for name in _NEEDED if name not in columns]:
            raise UsageError(
                f"{source}, line 1: the header lacks {shortened(absent)}",
                "give DPG-Bench's own file of questions, dpg_bench.csv, or one with its columns",
            )
        for position, row in enumerate(reader):
            id, prompt, proposition = _row(source, reader.line_num, row)
            if skip_first and position == 0:
                lost = id, proposition.number
                continue
            if id != previous:
                if id in items:
                    replaced.append(id)
                items[id] = prompt, {}
            items[id][1][proposition.number] = proposition
            previous = id
    except csv.Error as error:
        raise UsageError(
            f"{source}, line {reader.line_num + 1}: not CSV ({error})",
            "put double quotes around a text that holds commas, quotes or line breaks",
        ) from None
    if not items:
        raise UsageError(f"{source} holds no questions", "give DPG-Bench's dpg_bench.csv")
    return QuestionFile(
        {id: Item(id, prompt, tuple(rows.values())) for id, (prompt, rows) in items.items()},
        lost,
        tuple(dict.fromkeys(replaced)),
    )


def _row(source: str, line: int, row: Mapping[str, str | None]) -> tuple[str, str, Proposition]:
    cells = {name: row.get(name) for name in _NEEDED}
    if None in row or None in cells.values():
        raise UsageError(
            f"{source}, line {line}: not as many cells as the header has columns",
            "put double quotes around a text with commas",
        )
    id, text, number, parents, written, question = (str(cells[name]) for name in _NEEDED)
    if not id or not question.strip():
        raise UsageError(f"{source}, line {line}: no item_id, or no question", "fill the cell in")
    try:
        proposition = Proposition(
            _number(number),
            question,
            written.split("(")[0].strip(),
            tuple(map(_number, parents.split(","))),
        )
    except ValueError:
        raise UsageError(
            f"{source}, line {line}: proposition_id {number!r} and dependency {parents!r}, "
            "expected whole numbers",
            "a dependency is 0, or numbers of propositions with commas between: 1,3",
        ) from None
    return id, text, proposition


def _number(text: str) -> int:
    number = int(text)
    if abs(number) > MAX_NUMBER:
        raise ValueError("no item has so many propositions")
    return number
