"""What draws cost, role by role: nothing where a role did not work, unknown where nobody counted.

A plug-in need not count its FLOPs, and of images that came from elsewhere nobody knows what they
took. Such a cost is unknown, and so is every sum that it belongs to: a total without it would
pass for the whole.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from harness.log.schema import ROLES, UNITS

WORKED = ("error_role", "accepted", "correct")
"""Columns that tell which roles worked on a draw."""

COSTS = tuple(f"{role}_{unit}" for role in ROLES for unit in UNITS)
"""Columns that hold what they spent."""


def spent(table: pa.Table, role: str, unit: str, *, judged: bool) -> npt.NDArray[np.float64]:
    """What a role spent on each draw: 0 where it did not work, NaN where nobody counted.

    Args:
        table: Candidates, with the columns `WORKED` and the cost's own.
        role: Whose cost.
        unit: One of `harness.log.schema.UNITS`.
        judged: Whether the run has a judge; without one the verdicts in its log are nobody's.
    """
    known = pc.fill_null(table[f"{role}_{unit}"].cast(pa.float64()), 0.0).to_numpy()
    if not (unknown := _unknown(table, role, unit, judged)).any():
        return np.asarray(known)
    return np.where(unknown, np.nan, known)


def padded(table: pa.Table, role: str, *, judged: bool) -> npt.NDArray[np.float64]:
    """FLOPs of each draw with its share of its batch's padding; 0 and NaN as of `spent`.

    Args:
        table: As of `spent`.
        role: Whose.
        judged: As of `spent`.
    """
    return spent(table, role, "flops", judged=judged) * spent(table, role, "rows", judged=judged)


def sums(table: pa.Table, *, judged: bool) -> dict[str, Any]:
    """Sum every cost column over a table of candidates; None where a part is unknown.

    Beside them stand each role's ``padded_flops``: FLOPs with the padding of its batches.

    Args:
        table: With the columns `WORKED` and `COSTS`.
        judged: As of `spent`.
    """
    total: dict[str, Any] = {}
    for role in ROLES:
        unknown = {unit: _unknown(table, role, unit, judged).any() for unit in UNITS}
        for unit in UNITS:
            total[f"{role}_{unit}"] = None if unknown[unit] else _sum(table[f"{role}_{unit}"])
        padded = pc.multiply(table[f"{role}_flops"], table[f"{role}_rows"])
        known = not (unknown["flops"] or unknown["rows"])
        total[f"{role}_padded_flops"] = _sum(padded) if known else None
    return total


def _sum(column: pa.ChunkedArray) -> Any:
    return pc.sum(column).as_py() or 0


def _unknown(table: pa.Table, role: str, unit: str, judged: bool) -> npt.NDArray[np.bool_]:
    cost = table[f"{role}_{unit}"]
    if not cost.null_count or (role == "judge" and not judged):
        return np.zeros(len(table), dtype=np.bool_)
    if role == "generator":
        failed = pc.equal(table["error_role"].cast(pa.string()), "generator")
        worked = pc.invert(pc.fill_null(failed, False))
    else:
        worked = pc.is_valid(table["accepted" if role == "judge" else "correct"])
    return np.asarray(pc.and_(pc.is_null(cost), worked).to_numpy())
