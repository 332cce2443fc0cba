"""An audit: every check carried out, whatever happens in it."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module

from harness.audit.audited_run import AuditedRun
from harness.audit.result import CannotCheck, Result, Status
from harness.registry import import_paths

CHECKS = (
    "manifest", "files", "rows", "identities", "images", "completeness", "budget", "costs",
    "sessions", "origins", "flops", "decisions", "leakage", "verdicts", "regeneration",
    "rescoring", "measured", "report", "environment", "provenance", "against", "published",
)  # fmt: skip
"""Modules of `harness.audit.checks`, in the order of the table. Each has a `check(run) -> Result`,
which raises `CannotCheck` where its claim does not apply or cannot be tested here."""


def audit(run: AuditedRun) -> list[Result]:
    """Carry out every check."""
    return [replace(carry_out(name, run), check=name) for name in CHECKS]


def carry_out(name: str, run: AuditedRun) -> Result:
    """Return one check's result, whatever happens.

    A forged log may hold anything, so a check may break on it in ways that nobody foresaw; then
    it has not passed.
    """
    try:
        # Here, and not only where a check asks for a plug-in: what it calls may do so, too.
        with import_paths(allowed=run.options.plugins):
            result: Result = import_module(f"harness.audit.checks.{name}").check(run)
            return result
    except CannotCheck as error:
        return Result("", Status.NOT_APPLICABLE, (str(error),))
    except Exception as error:
        reason = f"the check broke off: {type(error).__name__}: {error}"
        return Result("", Status.FAIL, (reason,))
