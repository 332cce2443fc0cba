"""GenEval as a benchmark: its prompts, and the scorer that grades images for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from benchmarks.base import Benchmark, GradingPasses
from benchmarks.geneval import metadata, rules
from benchmarks.geneval.prompts import OFFICIAL_SEED, OFFICIAL_SIZE, metadata_rows
from benchmarks.geneval.settings import OFFICIAL_PARTS, Options
from harness import options as plugin_options
from harness.errors import HarnessError, UsageError
from harness.records import LARGEST_SEED, Detection, Evidence, Loading, Prompt, Score

if TYPE_CHECKING:
    from benchmarks.geneval.scorer import GenEvalScorer

MOST_PROMPTS = 100_000
"""Prompts that are drawn for a task at most, whoever wrote the run's manifest."""


@dataclass(frozen=True)
class GenEval(Benchmark):
    """The 553 published prompts, or fresh ones drawn by the same recipe.

    Source: Ghosh, Hajishirzi, Schmidt, "GenEval: an object-focused framework for evaluating
    text-to-image alignment", arXiv 2310.11513.

    Attributes:
        seed: Seed of the recipe; the published prompts have 43.
        size: Prompts drawn for each task; the published set has 100. The single-object task
            has one prompt for each of the 80 classes whatever the size.
    """

    name: ClassVar[str] = "geneval"
    prompt_options: ClassVar[frozenset[str]] = frozenset({"seed", "size"})
    parts: ClassVar[Mapping[str, str]] = OFFICIAL_PARTS

    seed: int = OFFICIAL_SEED
    size: int = OFFICIAL_SIZE

    def __post_init__(self) -> None:
        for option, value in (("seed", self.seed), ("size", self.size)):
            most = MOST_PROMPTS if option == "size" else LARGEST_SEED
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
                raise UsageError(
                    f"GenEval's {option} is {value!r}, expected a whole number from 0 to {most}",
                    f"leave it out for the published prompts ({option}="
                    f"{OFFICIAL_SEED if option == 'seed' else OFFICIAL_SIZE})",
                )

    def prompts(self) -> list[Prompt]:
        """All prompts in official order.

        An id is the position in the official order ("00012"). A set of another seed or size
        carries both in front ("s7n50-00012"), so that its ids never meet the official ones.
        """
        official = (self.seed, self.size) == (OFFICIAL_SEED, OFFICIAL_SIZE)
        prefix = "" if official else f"s{self.seed}n{self.size}-"
        return [
            Prompt(id=f"{prefix}{position:05d}", text=row["prompt"], tag=row["tag"], metadata=row)
            for position, row in enumerate(
                map(metadata.validated, metadata_rows(self.seed, self.size))
            )
        ]

    def scorer_settings(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return complete scorer settings: `benchmarks.geneval.settings.Options` of a scorer."""
        return plugin_options.resolved(plugin_options.build(Options, settings, flag="-O"))

    def rescore(self, prompt: Prompt, evidence: Evidence, settings: Mapping[str, Any]) -> Score:
        """Apply the rules to logged detections (see `Benchmark.rescore`)."""
        requirements = metadata.requirements(prompt.metadata)
        detections = [each for each in evidence if isinstance(each, Detection)]
        boxes = np.array([each.box for each in detections], np.float32).reshape(-1, 4)
        counted = rules.keep(
            [each.label for each in detections],
            np.array([each.score for each in detections], np.float32),
            boxes,
            tag=prompt.tag,
            max_overlap=settings["max_overlap"],
        )
        colors = {index: each.color for index, each in enumerate(detections) if each.color}
        try:
            judgement = rules.judge(requirements, counted, boxes, colors.__getitem__)
        except KeyError:
            raise HarnessError("the colour of an object that was asked for is not logged") from None
        return Score.of(judgement.correct, judgement.reason, tuple(detections))

    def failure_kinds(self, score: Score) -> Sequence[str]:
        """Return which of missing object, count, color and position the image fails by."""
        return rules.kinds_in(score.reason)

    def grading_passes(self, loading: Loading, height: int, width: int) -> GradingPasses | None:
        """Build detector and colour classifier without weights (see `Benchmark.grading_passes`)."""
        from benchmarks.geneval.loading import grading_passes

        return grading_passes(loading, height, width)

    def metadata(self, row: Any) -> Mapping[str, Any]:
        """Return a row of GenEval's own files (see `Benchmark.metadata`)."""
        return metadata.validated(row)

    def metadata_warnings(self, rows: Iterable[Mapping[str, Any]]) -> list[str]:
        """Return what prompts ask for that no image can show."""
        return metadata.warnings(rows)

    def load_scorer(self, loading: Loading) -> GenEvalScorer:
        """Load `detector` and `colors` (see `Benchmark.load_scorer`)."""
        from benchmarks.geneval.loading import load_scorer

        return load_scorer(loading)
