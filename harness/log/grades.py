"""The scorer's grades in a table of the log: one place that knows how older logs spelt them."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

GRADE = ("value", "correct")


def graded(table: pa.Table) -> pa.ChunkedArray:
    """Return the grade of every draw; null where there is none.

    Args:
        table: Candidates with the columns `GRADE`. Logs of schema 1 knew right and wrong only,
            which is 1 and 0.
    """
    return pc.coalesce(table["value"], table["correct"].cast(pa.float64()))
