"""The ended searches of a run with all that a report counts, one small record a draw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.audit.audited_run import AuditedRun, Row
from harness.engine.rows import logged_value
from harness.engine.searches import SearchKey, timed_out
from harness.log.grades import GRADE
from harness.log.schema import ROLES
from harness.replay import COLUMNS

SUFFIXES = {"": ROLES, "_search": ("generator", "judge"), "_generator": ("generator",)}
"""Suffix of a cost column, and whose costs it adds up."""

UNITS = {"nfe": ("nfe", 1.0), "tflops": ("flops", 1e12), "device_seconds": ("device_seconds", 1.0)}
"""Name of a cost column, the log's unit and what that is divided by."""

PADDED = "tflops_padded"
"""The cost column of FLOPs with the padding of batches, over all roles."""

COSTS = ("draws", *(unit + suffix for suffix in SUFFIXES for unit in UNITS), PADDED)
"""All cost columns of a report's tables."""

_COLUMNS = (
    "prompt",
    "tag",
    *COLUMNS,
    *GRADE,
    *(f"{role}_{unit}" for role in ROLES for unit in (*(u for u, _ in UNITS.values()), "rows")),
)


@dataclass(frozen=True, slots=True)
class Drawn:
    """One draw.

    Attributes:
        index: Its index.
        answered: Whether it has an image and a verdict.
        accepted: Whether the judge accepted it.
        score: The judge's score, minus infinity without an answer.
        value: The scorer's grade, 0 unless it is answered and scored.
        scored: Whether it is answered and the scorer could say.
        failed: Whether any role failed on it.
        spent: Its cost, by the names in `COSTS`.
    """

    index: int
    answered: bool
    accepted: bool
    score: float
    value: float
    scored: bool
    failed: bool
    spent: dict[str, float]


@dataclass(frozen=True, slots=True)
class Counted:
    """One ended search.

    Attributes:
        key: Which.
        text: Of its prompt, "" if nobody knows.
        tag: Of its prompt, likewise.
        draws: In order of index.
        selected: Index of the selected draw, or None.
        rounds: Rounds it asked in.
        timed_out: Whether its strategy thought too long, which a replay need not repeat.
        rows: The log's rows of its draws, for a replay.
    """

    key: SearchKey
    text: str
    tag: str
    draws: tuple[Drawn, ...]
    selected: int | None
    rounds: int
    timed_out: bool
    rows: Sequence[Row]

    @property
    def score(self) -> float:
        """The grade of the selected image, NaN if nobody knows."""
        return worth([draw for draw in self.draws if draw.index == self.selected])

    def spent(self) -> dict[str, float]:
        """What its draws cost together."""
        return added([draw.spent for draw in self.draws])


def worth(draws: Sequence[Drawn]) -> float:
    """Mean grade of the scored among some draws; NaN if there is none."""
    scored = [draw for draw in draws if draw.scored]
    return sum(draw.value for draw in scored) / len(scored) if scored else math.nan


def counted(audited: AuditedRun) -> list[Counted]:
    """Every ended search, in order of prompt and replicate; of unfinished ones nothing counts.

    Raises:
        CannotCheck: The log cannot be read; or it lacks a prompt that the benchmark could name,
            if that were here.
    """
    drawn = {key: rows for key, rows in audited.by_search(_COLUMNS) if key in audited.searches}
    message = {key.prompt_id: (rows[0]["prompt"], rows[0]["tag"]) for key, rows in drawn.items()}
    if drawn.keys() != audited.searches.keys():
        # Of a search that failed before its first draw the log has the prompt's id only.
        message = {prompt.id: (prompt.text, prompt.tag) for prompt in audited.prompts} | message
    result = {}
    for key, search in audited.searches.items():
        rows = drawn.get(key, [])
        text, tag = message.get(key.prompt_id, ("", ""))
        result[key] = Counted(
            key=key,
            text=text,
            tag=tag,
            draws=tuple(_drawn(row, audited.config.judged) for row in rows),
            selected=search["selected_index"] if rows else None,
            rounds=search["rounds"] if rows else 0,
            timed_out=timed_out(search["error"]),
            rows=rows,
        )
    return [result[key] for key in sorted(result, key=lambda k: (k.prompt_id, k.replicate))]


def added(parts: Sequence[dict[str, float]]) -> dict[str, float]:
    """Sums by name; zeros of all `COSTS` for nothing."""
    return {name: math.fsum(part[name] for part in parts) for name in COSTS}


def _drawn(row: Row, judged: bool) -> Drawn:
    answered = row["error_role"] not in ("generator", "judge")
    spent: dict[str, Any] = {"draws": 1.0}
    for suffix, roles in SUFFIXES.items():
        for name, (unit, scale) in UNITS.items():
            total = math.fsum(_cost(row, role, unit, judged) for role in roles)
            spent[name + suffix] = total / scale
    padded = (
        _cost(row, role, "flops", judged) * _cost(row, role, "rows", judged) for role in ROLES
    )
    spent[PADDED] = math.fsum(padded) / UNITS["tflops"][1]
    message = answered and row["judge_score"] is not None
    return Drawn(
        index=row["draw_index"],
        answered=answered,
        accepted=answered and bool(row["accepted"]),
        score=row["judge_score"] if message else -math.inf,
        value=(logged_value(row) or 0.0) if answered else 0.0,
        scored=answered and row["correct"] is not None,
        failed=row["error_role"] is not None,
        spent=spent,
    )


def _cost(row: Row, role: str, unit: str, judged: bool) -> float:
    """A role's cost of a draw: NaN where it worked and nobody counted, which makes sums NaN."""
    worked = {
        "generator": row["error_role"] != "generator",
        "judge": judged and row["accepted"] is not None,
        "scorer": row["correct"] is not None,
    }
    spent = row[f"{role}_{unit}"]
    return (math.nan if worked[role] else 0.0) if spent is None else float(spent)
