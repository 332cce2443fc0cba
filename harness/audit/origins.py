"""Claim: draws taken from other runs are what those runs logged.

That can be held against such a run if it is given; otherwise it remains its claim.
"""

from __future__ import annotations

import re
from collections import Counter

from harness.audit.result import CannotCheck, Problems, Result, Status, concluded, count
from harness.audit.subject import Options, Row, Subject, named
from harness.engine.searches import SearchKey
from harness.log.run_folder import RunFolder
from harness.log.schema import KEYS, METERED, ROLES, SCORE, UNITS, VERDICT, origin

NAME = "origins"

_COSTS = tuple(f"{role}_{unit}" for role in ROLES for unit in UNITS)
_TAKEN = ("draw_id", "image", *VERDICT, *SCORE, *_COSTS)
_MEASURED = ("metrics", *(f"metric_{unit}" for unit in UNITS))
_RUN = re.compile("[0-9a-f]{16}")


def check(subject: Subject) -> Result:
    """Compare every draw that another run made with that run's row, if it is here."""
    problems = Problems()
    given = _given(subject)
    logged = (
        {row["draw_id"]: row for row in given.rows("candidates", [*_TAKEN, *_MEASURED])}
        if given
        else {}
    )
    taken: Counter[str] = Counter()
    workers = [f"{role}_worker" for role in METERED]
    columns = [*KEYS["candidates"], *_TAKEN, *_MEASURED, *workers]
    for row in subject.rows("candidates", columns):
        for run in {origin(row[worker]) for worker in workers} - {""}:
            taken[run] += 1
            if given and given.manifest.run == run:
                _compare(row, logged.get(row["draw_id"]), run, problems)
    if not taken:
        raise CannotCheck("no draw is another run's")
    recorded_runs = _recorded_runs(subject)
    for run, number in taken.items():
        if not _RUN.fullmatch(run) or run == subject.config.run:
            problems.add(f"{count(number, 'draw')} said to be of '{run}', which is no other run")
        elif recorded_runs is not None and run not in recorded_runs:
            problems.add(f"{count(number, 'draw')} of run {run}, of which no session took any")
    checked = [run for run in taken if given and run == given.manifest.run]
    evidence = [
        f"{count(taken[run], 'draw')} claimed to be of run {run}, not checked: give that run with "
        "--against"
        for run in sorted(taken.keys() - set(checked))
    ]
    claimed = bool(evidence)
    evidence += [f"{count(taken[run], 'draw')} of run {run}, held against it" for run in checked]
    looked = f"{count(taken.total(), 'draw')} of {count(len(taken), 'other run')}"
    if claimed and not problems:
        return Result(NAME, looked, Status.CLAIMED, tuple(evidence))
    return concluded(NAME, looked, problems, evidence)


def _given(subject: Subject) -> Subject | None:
    path = subject.options.against
    return None if path is None else Subject(RunFolder.existing(path), Options())


def _recorded_runs(subject: Subject) -> set[str] | None:
    """Runs that sessions say they took draws of; None where one was killed before it could."""
    sessions = [entry for entry in subject.manifest.sessions if entry.get("workers")]
    if not all(entry.get("ended") for entry in sessions):
        return None
    return {run for entry in sessions for run in entry.get("reused") or {}}


def _compare(row: Row, there: Row | None, run: str, problems: Problems) -> None:
    name = named(SearchKey(row["prompt_id"], row["replicate"]), row["draw_index"])
    if there is None:
        problems.add(f"{name} is not in run {run}")
    elif differing := [column for column in _taken(row) if row[column] != there[column]]:
        problems.add(f"{name} differs from run {run} in {', '.join(differing)}")


def _taken(row: Row) -> tuple[str, ...]:
    """Columns that were taken from another run; images may have been measured anew."""
    return (*_TAKEN, *_MEASURED) if origin(row["metric_worker"]) else _TAKEN
