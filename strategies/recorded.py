"""Images that were made elsewhere, taken in the order in which they were made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.records import Task
from strategies.base import Rounds, Strategy
from strategies.best_of_n import first_accepted


@dataclass(frozen=True)
class Recorded(Strategy):
    """The rule by which images from elsewhere are read: the first accepted, else the last.

    Logs of imported and of merely scored images carry its name, so that replays at smaller
    budgets follow the published analysis: the last image, carried forward after acceptance
    (arXiv 2503.12271 and `inference_scripts/analysis.py` of github.com/jacklishufan/Reflect-DiT).
    What a draw was conditioned on is not known there, so it asks for nothing but the index.
    """

    name: ClassVar[str] = "recorded"

    def search(self, task: Task) -> Rounds:
        """Ask for one image after the other until one is accepted or the budget is spent."""
        return (yield from first_accepted(task))
