"""Claim: no search went over its budget, and each stopped where its strategy's rule says."""

from __future__ import annotations

from harness.audit.replays import replayed
from harness.audit.result import CannotCheck, Problems, Result, concluded, count
from harness.audit.subject import Subject, named

NAME = "budget"


def check(subject: Subject) -> Result:
    """Count every search's draws, and replay those that ended early."""
    problems = Problems()
    evidence: list[str] = []
    budget = subject.config.budget
    early = []
    number = 0
    for key, rows in subject.by_search([]):
        number += 1
        search = subject.searches.get(key)
        if len(rows) > budget or (search is not None and search["draws"] > budget):
            problems.add(f"{named(key)} made {len(rows)} draws with a budget of {budget}")
        elif len(rows) < budget:
            early.append(key)
    try:
        results = replayed(subject)
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
    return concluded(NAME, count(number, "search", "searches"), problems, evidence)
