"""Tables in, tables out: what a log says. No drawing, no models.

For notebooks:

    from harness.analysis import analyse

    findings = analyse(["results/A", "results/B"])
    findings.results      # a row a run and group: scores, intervals, costs
    findings.scaling      # every curve at every budget
    findings.comparison   # paired differences
    findings.matched      # runs at equal cost
    findings.gaps         # what a perfect judge would add
    findings.seeds        # the seeds of pooled runs, one by one
    findings.published    # published points, and why they may not be compared
    findings.skills       # scores by skill, of benchmarks that ask questions
    findings.failures     # failures by kind, of first and of selected images
    findings.forecast     # larger budgets
    findings.transfer     # gains by measures that did not steer
    findings.peaks        # where each measure peaks, and how far it falls after it
    findings.agreement    # judge against scorer, by tag; findings.roc by threshold
    findings.ledger       # micro score over every cost axis
    findings.disagreements  # axes that order runs differently
    findings.dpg          # DPG-Bench's official program against the patched one

All are pandas frames, and hold the very numbers of `python -m harness report` and `compare`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.analysis.findings import Findings, analyse
    from harness.analysis.loading import load_run
    from harness.analysis.logged_run import LoggedRun
    from harness.analysis.protocol import pool
    from harness.analysis.statistics import Estimate, macro_interval, mean_interval, wilson
    from harness.analysis.summary import Summary, summarise

__all__ = [
    "Estimate",
    "Findings",
    "LoggedRun",
    "Summary",
    "analyse",
    "load_run",
    "macro_interval",
    "mean_interval",
    "pool",
    "summarise",
    "wilson",
]

_MODULES = {
    "findings": ("Findings", "analyse"),
    "loading": ("load_run",),
    "logged_run": ("LoggedRun",),
    "protocol": ("pool",),
    "statistics": ("Estimate", "macro_interval", "mean_interval", "wilson"),
    "summary": ("Summary", "summarise"),
}


def __getattr__(name: str) -> Any:
    # A command that prints a summary must not wait for the imports of a whole report.
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
