"""A judge that looks as GenEval's scorer does, with eyes of its own.

It has another detector (and may have another colour classifier) than the scorer, and errs in
other places: what it accepts and the scorer rejects is the verifier gap that reports show. It is
told what a prompt asks for in structured form, which GenEval's prompts state in so many words
("a photo of two clocks"); it knows nothing of the scorer's findings.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from benchmarks.base import Benchmark, GradingPasses
from benchmarks.geneval.metadata import require_metadata
from benchmarks.geneval.rules import Failure, FailureKind, nth_best, sentences
from benchmarks.geneval.settings import Options, check_parts
from harness import options
from harness.models.devices import prepare
from harness.records import Ability, Cost, Image, Loading, Prompt, Setting, Verdict

if TYPE_CHECKING:
    from benchmarks.geneval.scorer import Examination, GenEvalScorer

_STAGE = {FailureKind.MISSING: 0, FailureKind.TOO_FEW: 0, FailureKind.WRONG_COLOR: 1,
          FailureKind.WRONG_RELATION: 2, FailureKind.NO_TARGET: 2}  # fmt: skip
"""The rules ask for number, then colour, then place, and stop at the first that fails."""


@dataclass(frozen=True, slots=True)
class JudgeOptions(Options):
    """The settings of the scorer that it looks with, and how sure it wants to be.

    Attributes:
        accept: Least score (see `rank`) of an image that is accepted. A bar near 1 trades right
            images that are sent back for wrong ones that are let through; 0 accepts whatever
            breaks none of GenEval's rules.
    """

    accept: Annotated[float, Field(ge=0, le=1)] = 0.0


class DetectorJudge:
    """Accepts what its own detector finds right, ranks by `rank`, says what is wrong."""

    oracle: ClassVar[bool] = False
    samples: ClassVar[bool] = False
    abilities: ClassVar[frozenset[Ability]] = frozenset({Ability.FEEDBACK})
    main_part: ClassVar[str] = "detector"
    Settings: ClassVar[type] = JudgeOptions

    def __init__(self, examiner: GenEvalScorer, accept: float = 0.0) -> None:
        self.examiner = examiner
        self.accept = accept

    @classmethod
    def check(
        cls, parts: Collection[str], settings: Mapping[str, Setting], benchmark: Benchmark
    ) -> None:
        """Look at parts, settings and prompts (see `harness.models.base.JudgeFactory`)."""
        hint = "it judges GenEval's prompts; choose another judge, e.g. 'none'"
        require_metadata(benchmark, "the judge 'detector'", hint)
        options.build(JudgeOptions, settings, flag="judge setting")
        check_parts(parts, owner="the judge 'detector'")

    @classmethod
    def load(cls, loading: Loading, benchmark: Benchmark) -> DetectorJudge:
        """Load the judge's own detector and colours (see `harness.models.base.JudgeFactory`)."""
        cls.check(loading.checkpoints, loading.settings, benchmark)
        from benchmarks.geneval.loading import load_scorer

        prepare(loading.device)
        settings = asdict(options.build(JudgeOptions, loading.settings, flag="judge setting"))
        accept = settings.pop("accept")
        return cls(load_scorer(replace(loading, settings=settings)), accept)

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
        confidences = seen.detections.confidences()
        failures = seen.outcome.failures
        score = rank(prompt.metadata, confidences, failures)
        if not failures and score < self.accept:
            failures = (doubt(prompt.metadata, confidences),)
        return Verdict(not failures, score, sentences(failures))


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
        colors = ("", entry.get("color", ""))
        own = (f for f in open_failures if f.label == entry["class"] and f.color in colors)
        failure = next(own, None)
        if failure is not None:
            open_failures.remove(failure)
        stage = 3 if failure is None else _STAGE[failure.kind]
        worth.append(((stage > 0) + _presence(entry, confidences)) / 2)
        if "color" in entry:
            share = 0.0 if stage < 1 else 1.0
            if stage == 1 and failure is not None:
                share = failure.actual / failure.count
            worth.append(((stage > 1) + share) / 2)
        if "position" in entry:
            worth.append(float(stage > 2))
    for limit in metadata.get("exclude", ()):
        met = (limit["class"], limit["count"]) not in too_many
        worth.append((met + 1 - nth_best(limit, confidences)) / 2)
    mean = sum(worth) / len(worth) if worth else 1.0
    return ((not failures) + mean) / 2


def doubt(metadata: Mapping[str, Any], confidences: Mapping[str, Sequence[float]]) -> Failure:
    """Return the failure that an image with none comes nearest to.

    Its least certain number, taken for what it would be without the object in doubt (or with it,
    where the doubt is about one too many).

    Args: as `rank`.
    """
    doubts = [
        (
            _presence(entry, confidences),
            Failure(
                FailureKind.MISSING if entry["count"] == 1 else FailureKind.TOO_FEW,
                entry["class"],
                entry["count"],
                entry["count"] - 1,
            ),
        )
        for entry in metadata["include"]
    ] + [
        (
            1 - nth_best(limit, confidences),
            Failure(FailureKind.TOO_MANY, limit["class"], limit["count"], limit["count"]),
        )
        for limit in metadata.get("exclude", ())
    ]
    return min(doubts, key=lambda pair: pair[0])[1]


def _presence(entry: Mapping[str, Any], confidences: Mapping[str, Sequence[float]]) -> float:
    """Mean confidence of the best so many detections; 0 for each that is not there."""
    best = sorted(confidences.get(entry["class"], ()), reverse=True)[: entry["count"]]
    return sum(best) / int(entry["count"])
