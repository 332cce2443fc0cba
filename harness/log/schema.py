"""The log's two tables, and which of their columns may differ between equal runs.

`candidates` has one row a draw, failed ones included. `searches` has one row a search that
ended, with what it selected: a draw's row is written when the draw is answered and scored, which
may be long before anybody knows whether it will be selected, and rows are never rewritten.
"""

from __future__ import annotations

import pyarrow as pa

SCHEMA_VERSION = 1
"""Raised whenever a column changes its meaning; readers refuse newer versions."""

TEXT = pa.string()

DETECTION = pa.struct(
    [
        ("label", TEXT),
        ("box", pa.list_(pa.float32(), 4)),
        ("score", pa.float32()),
        ("color", TEXT),
    ]
)

FEEDBACK = pa.struct([("draw_id", TEXT), ("sentence", TEXT)])

ROLES = ("generator", "judge", "scorer")

UNITS = ("nfe", "flops", "device_seconds", "tokens", "rows")
"""What each role's cost is counted in. Logs did not always say how many rows were computed."""

VERDICT = ("accepted", "judge_score", "judge_sentence")
"""What the judge said."""

SCORE = ("correct", "reason", "detections")
"""What the scorer said."""


def _cost(role: str) -> list[tuple[str, pa.DataType]]:
    return [
        (f"{role}_nfe", pa.int64()),
        (f"{role}_flops", pa.float64()),
        (f"{role}_device_seconds", pa.float64()),
        (f"{role}_tokens", pa.int64()),
        (f"{role}_worker", TEXT),
        (f"{role}_batch", TEXT),
    ]


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
    ]
)

_REUSED = "reused from "


def reused_from(run: str) -> str:
    """What stands in a worker's place where another run has made the draw."""
    return f"{_REUSED}{run}"


def origin(worker: str | None) -> str:
    """The run that made a draw, by what stands in its worker's place; "" for the run itself."""
    return worker.removeprefix(_REUSED) if worker and worker.startswith(_REUSED) else ""


TABLES = {"candidates": CANDIDATES, "searches": SEARCHES}

KEYS = {
    "candidates": ("prompt_id", "replicate", "draw_index"),
    "searches": ("prompt_id", "replicate"),
}
"""What names a row within a run."""

LATER = frozenset({"truncated", "round", *(f"{role}_rows" for role in ROLES)})
"""Columns that came after the first logs of this schema version, which are null there."""

VOLATILE = frozenset(
    {
        "time",
        *LATER,
        "attempts",
        *(name for role in ROLES for name, _ in _cost(role)),
    }
)
"""All that may differ between two runs of one config: times, workers, attempts and costs, and
what former programs did not write down."""


def content(table: pa.Table) -> pa.Table:
    """A table without its volatile columns, in key order: equal for equal runs, bit for bit."""
    name = "candidates" if "draw_index" in table.column_names else "searches"
    kept = [column for column in table.column_names if column not in VOLATILE]
    return table.select(kept).sort_by([(key, "ascending") for key in KEYS[name]])
