"""The log's tables, and which of their columns may differ between equal runs.

`candidates` has one row a draw, failed ones included, `replies` one a question to the judge.
`searches` has one row a search that ended, with what it selected: a draw's row is written when the
draw is answered and scored, which may be long before anybody knows whether it will be selected,
and rows are never rewritten.

Schemas 2 and 3 added columns, and the table `replies`, and changed no column, so readers take all:
what a shard of an earlier one lacks is null. A folder may hold shards of several, where a run was
begun by an earlier program and resumed by a later one.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pyarrow as pa

from harness.log.grades import graded
from harness.records import Cost

SCHEMA_VERSION = 3
"""Raised whenever columns are added or change their meaning; readers refuse newer versions."""

TEXT = pa.string()

DETECTION = pa.struct([("label", TEXT), ("box", pa.list_(pa.float32(), 4)),
                       ("score", pa.float32()), ("color", TEXT)])  # fmt: skip

FEEDBACK = pa.struct([("draw_id", TEXT), ("sentence", TEXT)])

TURN = pa.struct([("index", pa.int32()), ("cosine", pa.float64())])

START = pa.struct([("draw_id", TEXT), ("renoise", pa.int32())])

ANSWER = pa.struct([("question", TEXT), ("expected", TEXT), ("answer", TEXT),
                    ("probability", pa.float64()), ("weight", pa.float64()),
                    ("parents", pa.list_(pa.int32())), ("skill", TEXT)])  # fmt: skip

ROLES = ("generator", "judge", "scorer")
"""Roles that work on a run's result, and whose costs curves are drawn against."""

METERED = (*ROLES, "metric")
"""Whoever has a cost: metrics are measured beside the search and the score."""

ANSWERED = {"generator": "image", "judge": "accepted", "scorer": "correct", "metric": "metrics"}
"""The column that is not null where a role has answered."""

UNITS = tuple(field.name for field in fields(Cost))
"""Units of each role's cost. Logs did not always say how many rows were computed."""

VERDICT = ("accepted", "judge_score", "judge_sentence")
"""Columns of a verdict."""

WHOLE_VERDICT = (*VERDICT, "judge_prompt", "judge_members")
"""With what only some judges say."""

QUESTION = ("question_index", "text", "images")
"""Columns of a question to the judge."""

DRAW = ("draw_index", "text", "settings", "feedback", "noise_index", "noise_turns", "start", "stop")
"""Columns of the draw that the strategy asked for."""

SCORE = ("value", "correct", "reason", "detections", "answers")
"""Columns of a score."""


def _cost(role: str) -> list[tuple[str, pa.DataType]]:
    return [
        (f"{role}_nfe", pa.int64()),
        (f"{role}_flops", pa.float64()),
        (f"{role}_device_seconds", pa.float64()),
        (f"{role}_tokens", pa.int64()),
        (f"{role}_worker", TEXT),
        (f"{role}_batch", TEXT),
    ]


_SINCE_2 = [
    ("noise_index", pa.int32()),
    ("noise_turns", pa.list_(TURN)),
    ("start", START),
    ("stop", pa.int32()),
    ("judge_prompt", TEXT),
    ("value", pa.float64()),
    ("answers", pa.list_(ANSWER)),
    ("metrics", pa.map_(TEXT, pa.float64())),
    *_cost("metric"),
    ("metric_rows", pa.float64()),
]

_SINCE_3 = [("judge_members", pa.list_(pa.float64()))]

CANDIDATES = pa.schema(
    [
        ("run", TEXT),
        ("prompt_id", TEXT),
        ("prompt", TEXT),
        ("tag", TEXT),
        ("replicate", pa.int32()),
        ("draw_index", pa.int32()),
        ("draw_id", TEXT),
        ("seed", pa.int64()),
        ("text", TEXT),
        ("settings", TEXT),
        ("truncated", pa.list_(TEXT)),
        ("feedback", pa.list_(FEEDBACK)),
        ("image", TEXT),
        ("accepted", pa.bool_()),
        ("judge_score", pa.float64()),
        ("judge_sentence", TEXT),
        ("correct", pa.bool_()),
        ("reason", TEXT),
        ("detections", pa.list_(DETECTION)),
        ("error_role", TEXT),
        ("error", TEXT),
        *(column for role in ROLES for column in _cost(role)),
        ("attempts", pa.int32()),
        ("time", pa.timestamp("us", tz="UTC")),
        *((f"{role}_rows", pa.float64()) for role in ROLES),
        ("round", pa.int32()),
        *_SINCE_2,
        *_SINCE_3,
    ]
)

REPLIES = pa.schema(
    [
        ("run", TEXT),
        ("prompt_id", TEXT),
        ("replicate", pa.int32()),
        ("question_index", pa.int32()),
        ("round", pa.int32()),
        ("text", TEXT),
        ("images", pa.list_(TEXT)),
        ("reply", TEXT),
        ("error", TEXT),
        *_cost("judge"),
        ("judge_rows", pa.float64()),
        ("attempts", pa.int32()),
        ("time", pa.timestamp("us", tz="UTC")),
    ]
)

SEARCHES = pa.schema(
    [
        ("run", TEXT),
        ("prompt_id", TEXT),
        ("replicate", pa.int32()),
        ("draws", pa.int32()),
        ("rounds", pa.int32()),
        ("selected_index", pa.int32()),
        ("selected_id", TEXT),
        ("error", TEXT),
        ("time", pa.timestamp("us", tz="UTC")),
        ("questions", pa.int32()),
    ]
)

_REUSED = "reused from "


def reused_from(run: str) -> str:
    """The entry in a worker's place where another run has made the draw."""
    return f"{_REUSED}{run}"


def origin(worker: str | None) -> str:
    """The run that made a draw, by what stands in its worker's place; "" for the run itself."""
    return worker.removeprefix(_REUSED) if worker and worker.startswith(_REUSED) else ""


TABLES = {"candidates": CANDIDATES, "replies": REPLIES, "searches": SEARCHES}
"""In the order in which they are written: a search's row never before those that it rests on."""

KEYS = {
    "candidates": ("prompt_id", "replicate", "draw_index"),
    "replies": ("prompt_id", "replicate", "question_index"),
    "searches": ("prompt_id", "replicate"),
}
"""Columns that name a row within a run."""


def keys_of(rows: pa.Table, name: str) -> list[Any]:
    """Return the key of each row of a table of this name, a tuple of its columns `KEYS`."""
    return list(zip(*(rows[column].to_pylist() for column in KEYS[name]), strict=True))


_UNLOGGED_ONCE = frozenset({"truncated", "round", *(f"{role}_rows" for role in ROLES)})

LATER = _UNLOGGED_ONCE | {name for name, _ in (*_SINCE_2, *_SINCE_3)} | {"questions"}
"""Columns that not all shards have: they came after the first logs and are null there."""

VOLATILE = frozenset(
    {
        "time",
        *_UNLOGGED_ONCE,
        "attempts",
        *(name for role in METERED for name, _ in _cost(role)),
        "metric_rows",
    }
)
"""All that may differ between two runs of one config: times, workers, attempts and costs, and
what former programs did not write down."""


def content(table: pa.Table) -> pa.Table:
    """A table without its volatile columns, in key order: equal for equal runs, bit for bit."""
    name = next(name for name, key in KEYS.items() if key[-1] in table.column_names)
    columns = [column for column in table.column_names if column not in VOLATILE]
    if "value" in columns:
        # Of right and wrong, which was all that schema 1 knew, the grade follows.
        value = graded(table)
        table = table.set_column(table.column_names.index("value"), "value", value)
    return table.select(columns).sort_by([(key, "ascending") for key in KEYS[name]])
