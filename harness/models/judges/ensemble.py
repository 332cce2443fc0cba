"""A judge made of several metrics, by a rule that never averages one's scale with another's.

A judge is shown one image, so two rules are functions of one image: votes, and the minimum of
margins that the user has put on a common scale. By the third, a verdict carries what each member
gives, and whoever chooses among images ranks them by it (`strategies.base.ranked`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from benchmarks.base import Benchmark
from harness.errors import BadAnswer, Failure, UsageError, did_you_mean
from harness.models.metrics.together import Metrics, check, own, several, typed
from harness.models.suites import ModelSpec
from harness.options import build, resolved
from harness.records import Ability, Cost, Image, Loading, Look, Prompt, Setting, Verdict

RULES = ("mean-rank", "minimum", "vote")


@dataclass(frozen=True)
class EnsembleSettings:
    """The metrics, and how they decide together.

    Attributes:
        members: Metrics, with commas between, each NAME or NAME=REF.
        rule: "vote": accepted by more than half of the members; the score is the share that
            accepts. "minimum": accepted by all; the score is the least margin over a threshold,
            each in units of the member's own spread. "mean-rank": the images of a search are
            ranked by each member, and the best mean rank is the best; accepts by vote, or nothing
            where no thresholds are given. The score is the vote's.
        accept: Least value that each member accepts, "NAME:VALUE" with commas between.
        spread: What counts as one unit of each member's scale, likewise: its standard deviation
            over images, which a report's table of transfer gives. For the rule "minimum".
    """

    members: str
    rule: str = "vote"
    accept: str = ""
    spread: str = ""


class EnsembleJudge:
    """Several metrics that vote, rank together, or of which the most critical decides."""

    oracle: ClassVar[bool] = False
    samples: ClassVar[bool] = False
    abilities: ClassVar[frozenset[Ability]] = frozenset()
    main_part: ClassVar[str] = ""
    Settings: ClassVar[type] = EnsembleSettings

    def __init__(
        self,
        metrics: Metrics,
        rule: str,
        accept: Mapping[str, float],
        spread: Mapping[str, float],
    ) -> None:
        self.metrics = metrics
        self.rule = rule
        self.accept = accept
        self.spread = spread

    @classmethod
    def has_scale(cls, settings: Mapping[str, Setting]) -> bool:
        """Return False for mean ranks (see `harness.models.base.JudgeFactory`)."""
        return settings.get("rule") != "mean-rank"

    @classmethod
    def complete(cls, spec: ModelSpec, reference: str, metrics: ModelSpec) -> ModelSpec:
        """Take the members' checkpoints (see `harness.models.base.JudgeFactory`)."""
        given = _listed(reference or str(spec.settings.get("members", "")))
        names, checkpoints, settings = several(given, metrics)
        if len(names) < 2 or len({*names}) < len(names):
            raise UsageError(
                f"the judge 'ensemble' needs two metrics or more, each once, got {names or 'none'}",
                "such as --judge ensemble -J members=clip-score,pick-score; `python -m harness ls "
                "metrics` lists them",
            )
        return spec.model_copy(
            update={
                "checkpoints": {**checkpoints, **spec.checkpoints},
                "settings": {**settings, **spec.settings, "members": ",".join(names)},
            }
        )

    @classmethod
    def parse(cls, given: Mapping[str, Setting]) -> dict[str, Setting]:
        """Return options with their types (see `harness.models.base.JudgeFactory`)."""
        mine = _own(given)
        settings = resolved(mine) | {name: given[name] for name in given if "." in name}
        for name in _listed(mine.members):
            members = typed(name, own(given, name))
            settings |= {f"{name}.{option}": value for option, value in members.items()}
        return settings

    @classmethod
    def check(
        cls, parts: Collection[str], settings: Mapping[str, Setting], benchmark: Benchmark
    ) -> None:
        """Look at settings and parts (see `harness.models.base.JudgeFactory`)."""
        built = _own(settings)
        if built.rule not in RULES:
            raise UsageError(
                f"the judge 'ensemble' has no rule '{built.rule}'", did_you_mean(built.rule, RULES)
            )
        names = _listed(built.members)
        _thresholds(built, names)
        if built.spread and built.rule != "minimum":
            raise UsageError(
                f"-J spread is of the rule 'minimum', and the rule is '{built.rule}'",
                "leave it out",
            )
        for option in settings:
            if "." in option and not option.startswith(tuple(f"{name}." for name in names)):
                raise UsageError(
                    f"the ensemble has no member that -J {option} could be for",
                    f"its members are {', '.join(names)}",
                )
        for name in names:
            theirs = own(dict.fromkeys(parts), name)
            check(name, theirs, own(settings, name), benchmark, flag="-J")

    @classmethod
    def load(cls, loading: Loading, benchmark: Benchmark) -> EnsembleJudge:
        """Load the members (see `harness.models.base.JudgeFactory`)."""
        cls.check(loading.checkpoints, loading.settings, benchmark)
        built = _own(loading.settings)
        names = _listed(built.members)
        return cls(Metrics.load(loading, names), built.rule, *_thresholds(built, names))

    def judge(
        self, prompts: Sequence[Prompt], images: Sequence[Image], seeds: Sequence[int]
    ) -> list[tuple[Verdict, Cost]]:
        """Measure each image by all members (see `harness.models.base.Judge`).

        Raises:
            BadAnswer: A member gave no number.
        """
        looks = [Look(*row) for row in zip(prompts, images, seeds, strict=True)]
        return [(self._verdict(values), cost) for values, cost in self.metrics.measure(looks)]

    def _verdict(self, values: Mapping[str, float]) -> Verdict:
        for name, value in values.items():
            if not math.isfinite(value):
                raise BadAnswer(Failure.BAD_NUMBER, f"the ensemble's '{name}' gave {value}")
        margins = {name: values[name] - least for name, least in self.accept.items()}
        if self.rule == "minimum":
            worst = min(margin / self.spread[name] for name, margin in margins.items())
            return Verdict(worst >= 0, worst)
        share = sum(margin >= 0 for margin in margins.values()) / len(values)
        members = tuple(values.values()) if self.rule == "mean-rank" else ()
        return Verdict(share > 0.5, share, members=members)


def _own(settings: Mapping[str, Setting]) -> EnsembleSettings:
    """Return the ensemble's options; those of its members are named NAME.OPTION."""
    given = {name: value for name, value in settings.items() if "." not in name}
    built: EnsembleSettings = build(EnsembleSettings, given, flag="-J", title="judge ensemble")
    return built


def _thresholds(
    settings: EnsembleSettings, names: Sequence[str]
) -> tuple[dict[str, float], dict[str, float]]:
    """Return what members accept, and their spreads; empty where the rule does without."""
    needed = settings.accept or settings.rule != "mean-rank"
    accept = _numbers(settings.accept, "accept", names) if needed else {}
    is_minimum = settings.rule == "minimum"
    return accept, _numbers(settings.spread, "spread", names) if is_minimum else {}


def _listed(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _numbers(text: str, option: str, names: Sequence[str]) -> dict[str, float]:
    """Return a number of each member.

    Raises:
        UsageError: One is missing, is no number (a spread: above 0), or is no member's.
    """
    numbers: dict[str, float] = {}
    example = f"such as -J {option}={','.join(f'{name}:0.3' for name in names)}"
    for pair in _listed(text):
        name, _, value = pair.rpartition(":")
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number) or (option == "spread" and number <= 0):
            raise UsageError(f"-J {option} takes NAME:NUMBER, got '{pair}'", example)
        if name not in names or name in numbers:
            known = f"the ensemble has no member '{name}' left for -J {option}"
            raise UsageError(known, did_you_mean(name, names))
        numbers[name] = number
    if missing := [name for name in names if name not in numbers]:
        raise UsageError(f"the ensemble lacks -J {option} of '{missing[0]}'", example)
    return numbers
