"""A judge that looks as GenEval's scorer does, with eyes of its own.

It has another detector (and may have another colour classifier) than the scorer, and errs in
other places: what it accepts and the scorer rejects is the verifier gap that reports show. It is
told what a prompt asks for in structured form, which GenEval's prompts state in so many words
("a photo of two clocks"); it knows nothing of the scorer's findings.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from benchmarks.base import Benchmark, GradingPasses
from benchmarks.geneval.rules import Failure, FailureKind
from benchmarks.geneval.sentences import sentences
from benchmarks.geneval.settings import Options, check_parts
from harness import options
from harness.errors import UsageError
from harness.models.devices import prepare
from harness.records import Ability, Cost, Image, Loading, Prompt, Setting, Verdict

if TYPE_CHECKING:
    from benchmarks.geneval.scorer import Examination, GenEvalScorer

_STAGE = {FailureKind.MISSING: 0, FailureKind.TOO_FEW: 0, FailureKind.WRONG_COLOR: 1,
          FailureKind.WRONG_RELATION: 2, FailureKind.NO_TARGET: 2}  # fmt: skip
"""The rules ask for number, then colour, then place, and stop at the first that fails."""


class DetectorJudge:
    """Accepts what its own detector finds right, ranks by `rank`, says what is wrong."""

    oracle: ClassVar[bool] = False
    samples: ClassVar[bool] = False
    abilities: ClassVar[frozenset[Ability]] = frozenset({Ability.FEEDBACK})
    main_part: ClassVar[str] = "detector"
    Settings: ClassVar[type] = Options

    def __init__(self, examiner: GenEvalScorer) -> None:
        self.examiner = examiner

    @classmethod
    def check(
        cls, parts: Collection[str], settings: Mapping[str, Setting], benchmark: Benchmark
    ) -> None:
        """Look at parts, settings and prompts (see `harness.models.base.JudgeFactory`)."""
        if not all(
            isinstance(prompt.metadata.get("include"), list | tuple)
            for prompt in benchmark.prompts()
        ):
            raise UsageError(
                f"the judge 'detector' cannot tell what the prompts of {benchmark.name} ask for",
                "it judges GenEval's prompts; choose another judge, e.g. 'none'",
            )
        options.build(Options, settings, flag="judge setting")
        check_parts(parts, owner="the judge 'detector'")

    @classmethod
    def load(cls, loading: Loading, benchmark: Benchmark) -> DetectorJudge:
        """Load the judge's own detector and colours (see `harness.models.base.JudgeFactory`).

        Args:
            loading: `detector` and `colors`, and settings, as GenEval's scorer takes them.
            benchmark: Its prompts must say in GenEval's form what they ask for.
        """
        cls.check(loading.checkpoints, loading.settings, benchmark)
        from benchmarks.geneval.loading import load_scorer

        prepare(loading.device)
        return cls(load_scorer(loading))

    @classmethod
    def grading_passes(
        cls, loading: Loading, benchmark: Benchmark, height: int, width: int
    ) -> GradingPasses | None:
        """Build detector and colours without weights (see `harness.models.base.JudgeFactory`)."""
        from benchmarks.geneval.loading import grading_passes

        return grading_passes(loading, height, width)

    def judge(
        self, prompts: Sequence[Prompt], images: Sequence[Image], seeds: Sequence[int]
    ) -> list[tuple[Verdict, Cost]]:
        """Look at each image with its prompt in mind; seeds are not used, nothing is sampled."""
        if not prompts:
            return []
        return [
            (self._verdict(prompt, seen), seen.cost)
            for prompt, seen in zip(prompts, self.examiner.examine(prompts, images), strict=True)
        ]

    def _verdict(self, prompt: Prompt, seen: Examination) -> Verdict:
        confidences: dict[str, list[float]] = {}
        for label, score in zip(seen.detections.labels, seen.detections.scores, strict=True):
            confidences.setdefault(label, []).append(float(score))
        failures = seen.outcome.failures
        return Verdict(
            accepted=seen.outcome.correct,
            score=rank(prompt.metadata, confidences, failures),
            sentence=sentences(failures),
        )


def rank(
    metadata: Mapping[str, Any],
    confidences: Mapping[str, Sequence[float]],
    failures: Sequence[Failure],
) -> float:
    """Grade an image between 0 and 1; what is accepted is always above what is not.

    A prompt is a fixed list of requirements: for each object asked for its number, its colour
    (if one is asked for) and its place (likewise), and each limit on a number. With s_i = 1 if
    requirement i is met, else 0, and c_i how sure that is or how near it came,

        score = (accepted + mean_i (s_i + c_i) / 2) / 2

    c is, for a number, the mean confidence of the best so many detections of the class (0 for
    each that is not there); for a colour, the share of the objects that have it; for a place, s;
    for a limit, 1 minus the confidence of the first object too many (0 if there is none). So a
    rejected image is below 1/2, an accepted one at least at 3/4, and ties are rare.

    Args:
        metadata: The prompt's `include` and `exclude`.
        confidences: Confidence of every detection by class, whatever its confidence.
        failures: What GenEval's rules say is wrong.
    """
    open_failures = [failure for failure in failures if failure.kind is not FailureKind.TOO_MANY]
    too_many = {(f.label, f.count) for f in failures if f.kind is FailureKind.TOO_MANY}
    worth: list[float] = []
    for entry in metadata.get("include", ()):
        failure = _failure_of(entry, open_failures)
        if failure is not None:
            open_failures.remove(failure)
        stage = 3 if failure is None else _STAGE[failure.kind]
        best = sorted(confidences.get(entry["class"], ()), reverse=True)[: entry["count"]]
        worth.append(((stage > 0) + sum(best) / entry["count"]) / 2)
        if "color" in entry:
            share = 0.0 if stage < 1 else 1.0
            if stage == 1 and failure is not None:
                share = failure.found / failure.count
            worth.append(((stage > 1) + share) / 2)
        if "position" in entry:
            worth.append(float(stage > 2))
    for limit in metadata.get("exclude", ()):
        ordered = sorted(confidences.get(limit["class"], ()), reverse=True)
        surplus = ordered[limit["count"] - 1] if len(ordered) >= limit["count"] else 0.0
        met = (limit["class"], limit["count"]) not in too_many
        worth.append((met + 1 - surplus) / 2)
    mean = sum(worth) / len(worth) if worth else 1.0
    return ((not failures) + mean) / 2


def _failure_of(entry: Mapping[str, Any], failures: Sequence[Failure]) -> Failure | None:
    for failure in failures:
        if failure.label == entry["class"] and failure.color in ("", entry.get("color", "")):
            return failure
    return None
