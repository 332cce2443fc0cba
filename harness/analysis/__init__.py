"""Runs in, tables out: what logs say, by themselves and beside each other. No models.

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
    from harness.analysis.protocol import pool
    from harness.runs.loading import load_run
    from harness.runs.logged_run import LoggedRun
    from harness.runs.summary import Summary, summarise
    from harness.statistics.intervals import Estimate, macro_interval, mean_interval, wilson

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
    "analysis.findings": ("Findings", "analyse"),
    "analysis.protocol": ("pool",),
    "runs.loading": ("load_run",),
    "runs.logged_run": ("LoggedRun",),
    "runs.summary": ("Summary", "summarise"),
    "statistics.intervals": ("Estimate", "macro_interval", "mean_interval", "wilson"),
}


def __getattr__(name: str) -> Any:
    # A command that prints a summary must not wait for the imports of a whole report.
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"harness.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
