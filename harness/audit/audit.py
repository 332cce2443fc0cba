"""An audit: every check carried out, whatever happens in it."""

from __future__ import annotations

from harness.audit.audited_run import AuditedRun
from harness.audit.checks import CHECKS, Check
from harness.audit.result import CannotCheck, Result, Status
from harness.registry import import_paths


def audit(run: AuditedRun) -> list[Result]:
    """Carry out every check."""
    return [carry_out(one, run) for one in CHECKS]


def carry_out(one: Check, run: AuditedRun) -> Result:
    """Return one check's result, whatever happens.

    A forged log may hold anything, so a check may break on it in ways that nobody foresaw; then
    it has not passed.
    """
    try:
        # Here, and not only where a check asks for a plug-in: what it calls may do so, too.
        with import_paths(allowed=run.options.plugins):
            return one.check(run)
    except CannotCheck as error:
        return Result(one.NAME, "", Status.NOT_APPLICABLE, (str(error),))
    except Exception as error:
        reason = f"the check broke off: {type(error).__name__}: {error}"
        return Result(one.NAME, "", Status.FAIL, (reason,))
