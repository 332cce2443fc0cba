"""Claim: the sessions of work follow each other, and what was spent fits into them.

A session ends after it began and before the next begins, and rows were written in one. A worker is
busy no longer than it was there: the device-seconds of its rows fit into the sessions that had it.
Draws of other runs cost nothing here, and are no part of that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from harness.audit.audited_run import AuditedRun
from harness.audit.result import CannotCheck, Problems, Result, concluded, count
from harness.log.schema import METERED, TABLES, origin

SLACK = 3.0
"""Seconds; times are recorded to the second, and clocks are set by a little while they run."""

DRIFT = 1.05
"""Factor by which a clock may stretch a duration."""

FASTEST = 1e16
"""FLOPs a second that no device reaches."""

Times = npt.NDArray[np.float64]
"""POSIX seconds, ascending."""


@dataclass(frozen=True)
class _Session:
    """A session of work as the manifest records it, in POSIX seconds."""

    started: float
    ended: float | None
    workers: frozenset[str]


def check(run: AuditedRun) -> Result:
    """Hold sessions against each other, and rows against sessions."""
    entries = [entry for entry in run.manifest.sessions if entry.get("workers")]
    if not entries and not run.config.specs:
        raise CannotCheck("no session of work is on record: all answers came with the images")
    problems = Problems()
    sessions = [_read(number, entry, problems) for number, entry in enumerate(entries, start=1)]
    known = [session for session in sessions if session is not None]
    evidence = []
    if len(known) == len(sessions):
        columns = [run.table(table, ["time"])["time"].drop_null() for table in TABLES]
        parts = [column.cast(pa.int64()).to_numpy() / 1e6 for column in columns]
        times = np.sort(np.concatenate(parts))
        if known:
            _order(run, known, problems)
            _rows(known, times, problems)
        evidence.append(_spent(run, known, _seconds(known, times), problems))
    return concluded(count(len(entries), "session"), problems, evidence)


def _read(number: int, entry: Mapping[str, Any], problems: Problems) -> _Session | None:
    started, ended = (_time(entry.get(name)) for name in ("started", "ended"))
    for name, time in (("started", started), ("ended", ended)):
        if time is None and (name == "started" or entry.get(name) is not None):
            problems.add(f"session {number} {name} at '{entry.get(name)}', which is no time")
            return None
    assert started is not None
    if ended is not None and ended < started:
        problems.add(f"session {number} ends before it begins, at {entry['ended']}")
    return _Session(started, ended, frozenset(entry["workers"]))


def _time(text: object) -> float | None:
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except (ValueError, OverflowError):
        return None


def _order(run: AuditedRun, sessions: Sequence[_Session], problems: Problems) -> None:
    created = _time(run.manifest.created)
    if created is not None and sessions[0].started < created - SLACK:
        problems.add(f"session 1 begins before the run was created, at {run.manifest.created}")
    for number, (one, other) in enumerate(pairwise(sessions), start=1):
        if other.started < (one.ended or one.started) - SLACK:
            problems.add(f"session {number + 1} begins before session {number} ends")
    now = datetime.now(UTC).timestamp() + SLACK
    for number, session in enumerate(sessions, start=1):
        if max(session.started, session.ended or 0.0) > now:
            problems.add(f"session {number} is in the future")


def _rows(sessions: Sequence[_Session], times: Times, problems: Problems) -> None:
    """Rows were written by somebody: between the first session's start and the last one's end."""
    last = sessions[-1].ended
    early = int((times < sessions[0].started - SLACK).sum())
    late = 0 if last is None else int((times > last + SLACK).sum())
    if early:
        problems.add(f"{count(early, 'row')} from before the first session")
    if late:
        problems.add(f"{count(late, 'row')} from after the last session")


def _seconds(sessions: Sequence[_Session], times: Times) -> list[float]:
    """Return the seconds of each session; one that was killed ended with its last row."""
    ends = [*(session.started for session in sessions[1:]), np.inf]
    seconds = []
    for session, until in zip(sessions, ends, strict=True):
        own = times[(times >= session.started) & (times < until)]
        ended = session.ended if session.ended is not None else own.max(initial=session.started)
        seconds.append(max(0.0, float(ended) - session.started))
    return seconds


def _spent(
    run: AuditedRun, sessions: Sequence[_Session], seconds: Sequence[float], problems: Problems
) -> str:
    """Hold what each worker spent to the time that it was there."""
    there: defaultdict[str, float] = defaultdict(float)
    slack: defaultdict[str, float] = defaultdict(float)
    for session, took in zip(sessions, seconds, strict=True):
        for worker in session.workers:
            there[worker] += took
            slack[worker] += took * (DRIFT - 1) + SLACK
    busy: defaultdict[str, float] = defaultdict(float)
    flops: defaultdict[str, float] = defaultdict(float)
    units = ("worker", "device_seconds", "flops")
    for row in run.rows("candidates", [f"{role}_{unit}" for role in METERED for unit in units]):
        for role in METERED:
            worker, spent = row[f"{role}_worker"], row[f"{role}_device_seconds"]
            if worker is not None and spent is not None and not origin(worker):
                busy[worker] += spent
                flops[worker] += row[f"{role}_flops"] or 0.0
    for worker in sorted(busy):
        if worker not in there:
            problems.add(f"rows are of a worker '{worker}', which no session had")
        elif not busy[worker] <= there[worker] + slack[worker]:
            problems.add(
                f"worker '{worker}' was busy for {busy[worker]:.1f} s, and there for "
                f"{there[worker]:.0f} s"
            )
        if flops[worker] > FASTEST * busy[worker]:
            problems.add(
                f"worker '{worker}' made {flops[worker]:.3g} FLOPs in {busy[worker]:.3g} s, which "
                "no device does"
            )
    workers = count(len(there), "worker")
    return f"{sum(busy.values()):.1f} device-seconds of {workers} in {sum(seconds):.0f} s"
