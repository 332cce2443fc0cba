"""Claim: no search went over its budget, and each stopped where its strategy's rule says."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from harness.audit.audited_run import AuditedRun, Row, named
from harness.audit.result import CannotCheck, Problems, Result, concluded, count
from harness.records import whole_steps


def check(run: AuditedRun) -> Result:
    """Count every search's draws, and replay those that ended early."""
    problems = Problems()
    evidence: list[str] = []
    budget = run.config.budget
    early = []
    number = 0
    settings = run.config.generator.settings
    whole = whole_steps(settings)
    for key, rows in run.by_search(["draw_id", "settings", "start", "stop"]):
        number += 1
        search = run.searches.get(key)
        unlogged = search["draws"] - len(rows) if search is not None else 0
        steps = _steps(rows, settings) + max(0, unlogged) * whole
        if steps > budget * whole:
            spent = f"{steps} steps" if steps % whole else f"{steps // whole} draws"
            of = f" draws of {whole} steps" if steps % whole else ""
            problems.add(f"{named(key)} made {spent} with a budget of {budget}{of}")
        elif steps < budget * whole:
            early.append(key)
    try:
        results = run.replays
    except CannotCheck as error:
        evidence.append(f"where searches had to stop is not known: {error}")
    else:
        for key in early:
            if results[key].missing:
                problems.add(
                    f"{named(key)} stops before draw {results[key].missing[0].index}, for which "
                    "its strategy asks"
                )
        for key, result in results.items():
            if result.surplus:
                problems.add(
                    f"{named(key)} goes on with draw {result.surplus[0]} when its strategy has "
                    "ended"
                )
    evidence.append(f"budget {budget}; {len(early)} of {number} searches stopped before it")
    return concluded(count(number, "search", "searches"), problems, evidence)


def _steps(rows: Sequence[Row], settings: Mapping[str, Any]) -> int:
    """Return the denoising steps that a search's draws made."""
    ends: dict[str, int] = {}
    for row in rows:
        try:
            own = json.loads(row["settings"])
        except (TypeError, ValueError):  # which is another check's matter
            own = {}
        whole = whole_steps({**settings, **(own if isinstance(own, dict) else {})})
        ends[row["draw_id"]] = whole if row["stop"] is None else row["stop"]
    steps = 0
    for row in rows:
        start = row["start"]
        first = 0
        if start is not None:
            back = start["renoise"]
            first = ends.get(start["draw_id"], 0) if back is None else back
        steps += ends[row["draw_id"]] - first
    return steps
