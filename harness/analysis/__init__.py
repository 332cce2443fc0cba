"""Tables in, tables out: what a log says. No drawing, no models.

For notebooks:

    from harness.analysis import analyse

    found = analyse(["results/A", "results/B"])
    found.results      # a row a run and group: scores, intervals, costs
    found.scaling      # every curve at every budget
    found.comparison   # paired differences
    found.matched      # runs at equal cost
    found.gaps         # what a perfect judge would add
    found.seeds        # the seeds of pooled runs, one by one
    found.published    # published points, and why they may not be compared
    found.skills       # scores by skill, of benchmarks that ask questions
    found.failures     # failures by kind, of first and of selected images
    found.forecast     # larger budgets
    found.transfer     # gains by measures that did not steer
    found.peaks        # where each measure peaks, and how far it falls after it
    found.agreement    # judge against scorer, by tag; found.roc by threshold
    found.ledger       # micro score over every cost axis
    found.disagreements  # axes that order runs differently
    found.dpg          # DPG-Bench's official program against the patched one

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
    "pooling": ("pool",),
    "statistics": ("Estimate", "macro_interval", "mean_interval", "wilson"),
    "summary": ("Summary", "summarise"),
}


def __getattr__(name: str) -> Any:
    # A command that prints a summary must not wait for the imports of a whole report.
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
