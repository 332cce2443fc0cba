"""All checks, in the order of the table, and how they are carried out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from harness.audit import (
    against,
    budget,
    completeness,
    costs,
    decisions,
    environment,
    files,
    flops,
    identities,
    images,
    leakage,
    manifest,
    origins,
    provenance,
    published,
    regeneration,
    report,
    rescoring,
    rows,
    sessions,
    verdicts,
)
from harness.audit.result import CannotCheck, Result, Status
from harness.audit.subject import Subject
from harness.registry import import_paths


class Check(Protocol):
    """A module that tests one claim; its docstring says which."""

    NAME: str

    def check(self, subject: Subject) -> Result:
        """Test it.

        Raises:
            CannotCheck: It does not apply to this run, or cannot be tested here.
        """


CHECKS: Sequence[Check] = (
    manifest,
    files,
    rows,
    identities,
    images,
    completeness,
    budget,
    costs,
    sessions,
    origins,
    flops,
    decisions,
    leakage,
    verdicts,
    regeneration,
    rescoring,
    report,
    environment,
    provenance,
    against,
    published,
)


def audit(subject: Subject, observe: Callable[[str], None] = lambda name: None) -> list[Result]:
    """Carry out every check.

    Args:
        subject: The run.
        observe: Called with the name of each check before it starts.
    """
    results = []
    for one in CHECKS:
        observe(one.NAME)
        results.append(carry_out(one, subject))
    return results


def carry_out(one: Check, subject: Subject) -> Result:
    """One check's result, whatever happens.

    A forged log may hold anything, so a check may break on it in ways that nobody foresaw; then
    it has not passed.
    """
    try:
        # Here, and not only where a check asks for a plug-in: what it calls may do so, too.
        with import_paths(allowed=subject.options.plugins):
            return one.check(subject)
    except CannotCheck as error:
        return Result(one.NAME, "", Status.NOT_APPLICABLE, (str(error),))
    except Exception as error:
        reason = f"the check broke off: {type(error).__name__}: {error}"
        return Result(one.NAME, "", Status.FAIL, (reason,))
