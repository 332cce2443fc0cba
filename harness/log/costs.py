"""Costs of draws, role by role: nothing where a role did not work, unknown where nobody counted.

A plug-in need not count its FLOPs, and of images that came from elsewhere nobody knows what they
took. Such a cost is unknown, and so is every sum that it belongs to: a total without it would
pass for the whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from harness.log.schema import METERED, UNITS

WORKED = ("error_role", "accepted", "correct", "metrics")
"""Columns that tell which roles worked on a draw."""

_ANSWER = {"judge": "accepted", "scorer": "correct", "metric": "metrics"}

COSTS = tuple(f"{role}_{unit}" for role in METERED for unit in UNITS)
"""Columns that hold what they spent."""

REPLIES = ("prompt_id", "replicate", "round", "error", *(f"judge_{unit}" for unit in UNITS))
"""Columns of the table of replies that tell what they cost."""


def spent(table: pa.Table, role: str, unit: str, *, judged: bool) -> npt.NDArray[np.float64]:
    """Return what a role spent on each draw: 0 where it did not work, NaN where nobody counted.

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
    """FLOPs of each draw with its share of its batch's padding; the rest is as of `spent`."""
    return spent(table, role, "flops", judged=judged) * spent(table, role, "rows", judged=judged)


def charged(table: pa.Table, replies: pa.Table) -> dict[str, npt.NDArray[np.float64]]:
    """Return what the judge's replies add to the cost of each draw, by unit; empty without any.

    A reply is charged to the first draw of its search in a later round, which is made because of
    it, or to the last draw where none came after. A cost that nobody counted is NaN. Beside the
    units stand ``padded_flops`` and ``calls``: replies of a language model.

    Args:
        table: Candidates, with `prompt_id`, `replicate`, `draw_index` and `round`.
        replies: Of the table of replies, with the columns `REPLIES`.
    """
    if not replies.num_rows:
        return {}
    draws: dict[tuple[str, int], list[tuple[int, int, int]]] = {}
    names = ("prompt_id", "replicate", "round", "draw_index")
    for place, (prompt, replicate, round, index) in enumerate(
        zip(*(table[name].to_pylist() for name in names), strict=True)
    ):
        draws.setdefault((prompt, replicate), []).append((round or 0, index, place))
    extra = {unit: np.zeros(len(table)) for unit in (*UNITS, "padded_flops", "calls")}
    for row in replies.to_pylist():
        if own := sorted(draws.get((row["prompt_id"], row["replicate"]), ())):
            place = next((place for round, _, place in own if round > row["round"]), own[-1][2])
            for unit, cost in _costs_of(row).items():
                extra[unit][place] += np.nan if cost is None else cost
            extra["calls"][place] += bool(row["judge_tokens"])
    return extra


def _costs_of(reply: Mapping[str, Any]) -> dict[str, float | None]:
    """Return what a reply took, by unit: nothing where the judge gave up on it."""
    if reply["error"] is not None:
        return dict.fromkeys((*UNITS, "padded_flops"), 0.0)
    costs = {unit: reply[f"judge_{unit}"] for unit in UNITS}
    flops, rows = costs["flops"], costs["rows"]
    return {**costs, "padded_flops": None if None in (flops, rows) else flops * rows}


def sums(table: pa.Table, replies: pa.Table, *, judged: bool) -> dict[str, Any]:
    """Sum every cost over a run's draws and replies; None where a part is unknown.

    Beside them stand each role's ``padded_flops``: FLOPs with the padding of its batches. Where
    nothing was measured beside the score, metrics are not mentioned.

    Args:
        table: Candidates, with the columns `WORKED` and `COSTS`.
        replies: As of `charged`.
        judged: As of `spent`.
    """
    total: dict[str, Any] = {}
    for role in METERED:
        if role == "metric" and table["metrics"].null_count == len(table):
            continue
        unknown = {unit: _unknown(table, role, unit, judged).any() for unit in UNITS}
        for unit in UNITS:
            total[f"{role}_{unit}"] = None if unknown[unit] else _sum(table[f"{role}_{unit}"])
        padded = pc.multiply(table[f"{role}_flops"], table[f"{role}_rows"])
        known = not (unknown["flops"] or unknown["rows"])
        total[f"{role}_padded_flops"] = _sum(padded) if known else None
    for row in replies.to_pylist():
        for unit, cost in _costs_of(row).items():
            name = f"judge_{unit}"
            total[name] = None if None in (cost, total[name]) else total[name] + cost
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
        worked = pc.is_valid(table[_ANSWER[role]])
    return np.asarray(pc.and_(pc.is_null(cost), worked).to_numpy())
