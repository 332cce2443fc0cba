"""The checks of an audit, one file each, in the order of its table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from harness.audit.audited_run import AuditedRun
from harness.audit.checks import (
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
    measured,
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
from harness.audit.result import Result


class Check(Protocol):
    """A module that tests one claim; its docstring says which."""

    NAME: str

    def check(self, run: AuditedRun) -> Result:
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
    measured,
    report,
    environment,
    provenance,
    against,
    published,
)
