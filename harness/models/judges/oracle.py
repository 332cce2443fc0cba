"""The judge that knows the answers: the benchmark's own scorer, asked by the strategy.

It measures what a search would reach with a perfect verifier, which bounds what better judges
can bring. Its results are no scores of a method; `oracle = True` is what runs, logs and reports
label them by.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from benchmarks.base import Benchmark, GradingPasses, Scorer
from harness.errors import UsageError
from harness.models.devices import prepare
from harness.models.judges.verdicts import of_score
from harness.records import Ability, Cost, Image, Loading, Prompt, Verdict


class OracleJudge:
    """Accepts what the scorer calls correct; its score and sentence are the scorer's."""

    oracle: ClassVar[bool] = True
    samples: ClassVar[bool] = False
    abilities: ClassVar[frozenset[Ability]] = frozenset({Ability.FEEDBACK})
    main_part: ClassVar[str] = ""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer

    @classmethod
    def load(cls, loading: Loading, benchmark: Benchmark) -> OracleJudge:
        """Load the benchmark's scorer (see `harness.models.base.JudgeFactory`)."""
        if not benchmark.scored:
            raise UsageError(
                f"an oracle needs a benchmark with a scorer, and {benchmark.name} has none",
                "choose another judge, or another benchmark",
            )
        prepare(loading.device)
        return cls(benchmark.load_scorer(loading))

    @classmethod
    def grading_passes(
        cls, loading: Loading, benchmark: Benchmark, height: int, width: int
    ) -> GradingPasses | None:
        """Return what the scorer takes (see `harness.models.base.JudgeFactory`)."""
        return benchmark.grading_passes(loading, height, width)

    def judge(
        self, prompts: Sequence[Prompt], images: Sequence[Image], seeds: Sequence[int]
    ) -> list[tuple[Verdict, Cost]]:
        """Ask the scorer; its cost is booked on the judge, who asked."""
        if not prompts:
            return []
        return [(of_score(score), cost) for score, cost in self.scorer.score(prompts, images)]
