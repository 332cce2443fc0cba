"""Claim: draws taken from other runs are what those runs logged.

That can be held against such a run if it is given; otherwise it remains its claim.
"""

from __future__ import annotations

import re
from collections import Counter

from harness.audit.audited_run import AuditedRun, Row, named_draw
from harness.audit.result import CannotCheck, Problems, Result, Status, concluded, count
from harness.log.schema import KEYS, METERED, QUESTION, ROLES, SCORE, UNITS, WHOLE_VERDICT, origin

_COSTS = tuple(f"{role}_{unit}" for role in ROLES for unit in UNITS)
_TAKEN = ("draw_id", "image", *WHOLE_VERDICT, *SCORE, *_COSTS)
_REPLY = (*QUESTION[1:], "reply", "error", *(f"judge_{unit}" for unit in UNITS))
_MEASURED = ("metrics", *(f"metric_{unit}" for unit in UNITS))
_RUN = re.compile("[0-9a-f]{16}")


def check(run: AuditedRun) -> Result:
    """Compare every draw that another run made with that run's row, if it is here."""
    problems = Problems()
    given = run.other
    logged = (
        {row["draw_id"]: row for row in given.rows("candidates", [*_TAKEN, *_MEASURED])}
        if given
        else {}
    )
    taken: Counter[str] = Counter()
    workers = [f"{role}_worker" for role in METERED]
    columns = [*KEYS["candidates"], *_TAKEN, *_MEASURED, *workers]
    for row in run.rows("candidates", columns):
        for other in {origin(row[worker]) for worker in workers} - {""}:
            taken[other] += 1
            if given and given.manifest.run == other:
                _compare(row, logged.get(row["draw_id"]), other, problems)
    replies = _check_replies(run, given, problems)
    taken.update(dict.fromkeys(replies, 0))
    if not taken:
        raise CannotCheck("no draw is another run's")
    sessions = [entry for entry in run.manifest.sessions if entry.get("workers")]
    recorded_runs = {other for entry in sessions for other in entry.get("reused") or {}}
    killed = not all(entry.get("ended") for entry in sessions)  # before it could say
    for other, number in taken.items():
        if not _RUN.fullmatch(other) or other == run.config.run:
            problems.add(f"{count(number, 'draw')} said to be of '{other}', which is no other run")
        elif not killed and other not in recorded_runs:
            problems.add(f"{count(number, 'draw')} of run {other}, of which no session took any")
    checked = [other for other in taken if given and other == given.manifest.run]
    evidence = [
        f"{count(taken[other], 'draw')} claimed to be of run {other}, not checked: "
        "give that run with --against"
        for other in sorted(taken.keys() - set(checked))
    ]
    well = Status.CLAIMED if evidence else Status.PASS
    evidence += [
        f"{count(taken[other], 'draw')} of run {other}, held against it" for other in checked
    ]
    looked = f"{count(taken.total(), 'draw')} of {count(len(taken), 'other run')}"
    if replies:
        looked = f"{looked}, {count(replies.total(), 'reply', 'replies')}"
    return concluded(looked, problems, evidence, well)


def _check_replies(run: AuditedRun, given: AuditedRun | None, problems: Problems) -> Counter[str]:
    """Compare replies that another run's judge gave; return how many are said to be of which."""
    columns = [*KEYS["replies"], *_REPLY, "judge_worker"]
    there = {_key(row): row for row in given.rows("replies", columns)} if given else {}
    taken: Counter[str] = Counter()
    for row in run.rows("replies", columns):
        if other := origin(row["judge_worker"]):
            taken[other] += 1
            if given and given.manifest.run == other:
                logged = there.get(_key(row), {})
                if differing := [name for name in _REPLY if row[name] != logged.get(name)]:
                    prompt, replicate, index = _key(row)
                    problems.add(
                        f"question {index} of {prompt}, replicate {replicate} differs from run "
                        f"{other} in {', '.join(differing)}"
                    )
    return taken


def _key(row: Row) -> tuple[str, int, int]:
    return row["prompt_id"], row["replicate"], row["question_index"]


def _compare(row: Row, there: Row | None, other: str, problems: Problems) -> None:
    # Images of another run may have been measured anew.
    taken = (*_TAKEN, *_MEASURED) if origin(row["metric_worker"]) else _TAKEN
    if there is None:
        problems.add(f"{named_draw(row)} is not in run {other}")
    elif differing := [column for column in taken if row[column] != there[column]]:
        problems.add(f"{named_draw(row)} differs from run {other} in {', '.join(differing)}")
