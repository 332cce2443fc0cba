"""The judge that knows the answers: the benchmark's own scorer, asked by the strategy.

It measures what a search would reach with a perfect verifier, which bounds what better judges
can bring. Its results are no scores of a method; `oracle = True` is what runs, logs and reports
label them by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from benchmarks.base import Benchmark, GradingPasses, Scorer
from harness.errors import UsageError
from harness.models.devices import prepare
from harness.models.dtypes import resolve_dtype
from harness.records import Cost, Image, Prompt, Setting, Verdict


class OracleJudge:
    """Accepts what the scorer calls correct; its score and sentence are the scorer's."""

    oracle: ClassVar[bool] = True
    main_part: ClassVar[str] = ""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer

    @classmethod
    def load(
        cls,
        checkpoints: Mapping[str, Path],
        *,
        device: str,
        dtype: str,
        batch_size: int,
        settings: Mapping[str, Setting],
        benchmark: Benchmark,
    ) -> OracleJudge:
        """Load the benchmark's scorer (see `harness.models.base.JudgeFactory`).

        Args:
            checkpoints: The scorer's.
            device: A torch device.
            dtype: "auto" is bfloat16 on a GPU, float32 on a CPU.
            batch_size: Images of the one batch shape.
            settings: The scorer's further options.
            benchmark: Whose scorer it is.

        Raises:
            UsageError: The benchmark has no scorer.
        """
        if not benchmark.scored:
            raise UsageError(
                f"an oracle needs a benchmark with a scorer, and {benchmark.name} has none",
                "choose another judge, or another benchmark",
            )
        prepare(device)
        chosen = {"dtype": resolve_dtype(dtype, device), "batch_size": batch_size, **settings}
        return cls(benchmark.load_scorer(checkpoints, chosen, device))

    @classmethod
    def grading_passes(
        cls,
        checkpoints: Mapping[str, Path],
        settings: Mapping[str, Setting],
        benchmark: Benchmark,
        height: int,
        width: int,
    ) -> GradingPasses | None:
        """Return what the scorer takes (see `harness.models.base.JudgeFactory`)."""
        return benchmark.grading_passes(checkpoints, settings, height, width)

    def judge(
        self, prompts: Sequence[Prompt], images: Sequence[Image], seeds: Sequence[int]
    ) -> list[tuple[Verdict, Cost]]:
        """Ask the scorer; its cost is booked on the judge, who asked."""
        if not prompts:
            return []
        return [
            (
                Verdict(
                    accepted=score.correct,
                    score=float(score.value),
                    sentence=score.reason.replace("\n", ". "),
                ),
                cost,
            )
            for score, cost in self.scorer.score(prompts, images)
        ]
