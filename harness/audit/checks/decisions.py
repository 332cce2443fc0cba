"""Claim: the strategy named in the config made these decisions.

Sent the logged candidates, it asks for exactly the logged draws, in as many rounds, and selects
the logged one.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.audit.audited_run import AuditedRun, Row, named
from harness.audit.result import Problems, Result, concluded, count
from harness.engine.searches import SearchKey, timed_out
from harness.replay import Replayed


def check(run: AuditedRun) -> Result:
    """Replay every search that ended."""
    problems = Problems()
    late = number = 0
    for number, (key, search, wrong) in enumerate(replayed(run), start=1):  # noqa: B007
        late += timed_out(search["error"])
        for problem in wrong:
            problems.add(f"{named(key)} {problem}")
    evidence = [f"strategy '{run.config.strategy.name}' {run.config.strategy.options}"]
    if late:
        evidence.append(f"{count(late, 'search', 'searches')} ran out of time: not replayed")
    return concluded(count(number, "search", "searches"), problems, evidence)


def replayed(run: AuditedRun) -> Iterator[tuple[SearchKey, Row, list[str]]]:
    """Yield each search that ended and how it differs from its replay.

    One that ran out of time is not held to it.
    """
    for key, search in run.searches.items():
        if key in run.replays:
            late = timed_out(search["error"])
            yield key, search, [] if late else list(_wrong(run.replays[key], search))


def _wrong(result: Replayed, search: Row) -> Iterator[str]:
    if result.missing:
        missing = result.missing[0]
        name = f"{missing.kind} {missing.index}"
        yield (
            f"asks for {name} with another {missing.differing} than is logged"
            if missing.differing
            else f"asks for {name}, which is not logged"
        )
        return
    if result.surplus:
        yield f"never asks for draw {result.surplus[0]}, which is logged"
    if result.selected != search["selected_index"]:
        yield f"selects draw {result.selected}, not {search['selected_index']}"
    if result.error != search["error"]:
        yield f"ends with the error '{result.error}', not '{search['error']}'"
    if len(result.asked) != search["draws"] or result.rounds != search["rounds"]:
        yield (
            f"makes {len(result.asked)} draws in {result.rounds} rounds, not {search['draws']} in "
            f"{search['rounds']}"
        )
