"""Claim: the strategy named in the config made these decisions.

Sent the logged candidates, it asks for exactly the logged draws, in as many rounds, and selects
the logged one.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.audit.audited_run import AuditedRun, Row, named
from harness.audit.result import Problems, Result, concluded, count
from harness.engine.searches import timed_out
from harness.replay import Replayed


def check(run: AuditedRun) -> Result:
    """Replay every search that ended."""
    problems = Problems()
    late = 0
    results = run.replays
    ended = [(key, search) for key, search in run.searches.items() if key in results]
    for key, search in ended:
        if timed_out(search["error"]):
            late += 1
            continue
        for problem in wrong(results[key], search):
            problems.add(f"{named(key)} {problem}")
    evidence = [f"strategy '{run.config.strategy.name}' {run.config.strategy.options}"]
    if late:
        evidence.append(f"{count(late, 'search', 'searches')} ran out of time: not replayed")
    return concluded(count(len(ended), "search", "searches"), problems, evidence)


def wrong(result: Replayed, search: Row) -> Iterator[str]:
    """Yield how a logged search differs from its replay."""
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
