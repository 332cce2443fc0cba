"""Claim: the strategy named in the config made these decisions.

Sent the logged candidates, it asks for exactly the logged draws, in as many rounds, and selects
the logged one.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.audit import replays
from harness.audit.replays import Replayed
from harness.audit.result import Problems, Result, concluded, count
from harness.audit.subject import Row, Subject, named
from harness.engine.searches import timed_out

NAME = "decisions"


def check(subject: Subject) -> Result:
    """Replay every search that ended."""
    problems = Problems()
    late = 0
    replayed = replays.replay(subject)
    ended = [(key, search) for key, search in subject.searches.items() if key in replayed]
    for key, search in ended:
        if timed_out(search["error"]):
            late += 1
            continue
        for problem in wrong(replayed[key], search):
            problems.add(f"{named(key)} {problem}")
    evidence = [f"strategy '{subject.config.strategy.name}' {subject.config.strategy.options}"]
    if late:
        evidence.append(f"{count(late, 'search', 'searches')} ran out of time: not replayed")
    return concluded(NAME, count(len(ended), "search", "searches"), problems, evidence)


def wrong(found: Replayed, search: Row) -> Iterator[str]:
    """How a logged search differs from its replay."""
    if found.unknown is not None:
        lacking = f"draw {found.unknown}"
        yield (
            f"asks for {lacking} with another {found.why} than is logged"
            if found.why
            else f"asks for {lacking}, which is not logged"
        )
        return
    if found.surplus:
        yield f"never asks for draw {found.surplus[0]}, which is logged"
    if found.selected != search["selected_index"]:
        yield f"selects draw {found.selected}, not {search['selected_index']}"
    if found.error != search["error"]:
        yield f"ends with the error '{found.error}', not '{search['error']}'"
    if len(found.asked) != search["draws"] or found.rounds != search["rounds"]:
        yield (
            f"makes {len(found.asked)} draws in {found.rounds} rounds, not {search['draws']} in "
            f"{search['rounds']}"
        )
