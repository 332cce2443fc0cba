"""The judge of a suite without a judge: it accepts nothing, ranks all alike and says nothing.

It looks at nothing, so it costs nothing. It is for strategies that never ask (a single draw, a
plain pool of samples); a search that stops at the first accepted image spends its whole budget.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar

from benchmarks.base import Benchmark
from harness.errors import UsageError
from harness.records import FREE, Ability, Cost, Image, Loading, Prompt, Setting, Verdict

UNJUDGED = Verdict(accepted=False, score=0.0)
"""What it says of every image."""


class NoJudge:
    """Accepts nothing, ranks all alike, says nothing."""

    oracle: ClassVar[bool] = False
    samples: ClassVar[bool] = False
    abilities: ClassVar[frozenset[Ability]] = frozenset()
    main_part: ClassVar[str] = ""

    @classmethod
    def check(
        cls, parts: Collection[str], settings: Mapping[str, Setting], benchmark: Benchmark
    ) -> None:
        """Refuse a checkpoint or a setting (see `harness.models.base.JudgeFactory`)."""
        surplus = [*parts, *settings]
        if surplus:
            raise UsageError(
                f"the judge 'none' has no use for '{surplus[0]}'", "leave it out of the suite"
            )

    @classmethod
    def load(cls, loading: Loading, benchmark: Benchmark) -> NoJudge:
        """Load nothing (see `harness.models.base.JudgeFactory`)."""
        cls.check(loading.checkpoints, loading.settings, benchmark)
        return cls()

    def judge(
        self, prompts: Sequence[Prompt], images: Sequence[Image], seeds: Sequence[int]
    ) -> list[tuple[Verdict, Cost]]:
        """Say of each image the same: not accepted, score 0, no sentence."""
        return [(UNJUDGED, FREE) for _ in images]
