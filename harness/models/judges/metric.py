"""A judge made of a metric: it ranks by the metric's value and accepts from a threshold on.

What one metric steers another can measure: a metric is written once (`harness.models.base.Metric`)
and serves as judge, as held-out metric and for images from elsewhere.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from pydantic import Field

from benchmarks.base import Benchmark
from harness.errors import UsageError
from harness.models.base import Metric
from harness.models.judges.verdicts import of_metric
from harness.models.metrics.together import check, single, typed
from harness.models.suites import ModelSpec
from harness.options import build, resolved
from harness.records import Ability, Cost, Image, Loading, Look, Prompt, Setting, Verdict
from harness.registry import METRICS


@dataclass(frozen=True)
class MetricJudgeSettings:
    """A metric and what it accepts. Further options are the metric's own.

    Attributes:
        name: The metric.
        accept: Least value of an image that is accepted; None accepts none, which is enough for
            strategies that only rank.
    """

    name: str
    accept: Annotated[float, Field(allow_inf_nan=False)] | None = None


class MetricJudge:
    """Ranks by a metric and accepts what reaches a threshold. It says nothing in words."""

    oracle: ClassVar[bool] = False
    samples: ClassVar[bool] = False
    abilities: ClassVar[frozenset[Ability]] = frozenset()
    main_part: ClassVar[str] = ""
    Settings: ClassVar[type] = MetricJudgeSettings

    def __init__(self, metric: Metric, accept: float | None) -> None:
        self.metric = metric
        self.accept = accept

    @classmethod
    def complete(cls, spec: ModelSpec, reference: str, metrics: ModelSpec) -> ModelSpec:
        """Take the metric's checkpoints (see `harness.models.base.JudgeFactory`)."""
        named = reference or str(spec.settings.get("name", ""))
        if not named:
            raise UsageError(
                "the judge 'metric' needs the name of a metric",
                "say --judge metric=NAME, such as --judge metric=clip-score; "
                "`python -m harness ls metrics` lists them",
            )
        name, references, settings = single(named, metrics)
        if spec.settings.get("name", name) != name:
            raise UsageError(
                f"the judge 'metric' is to be {name} and {spec.settings['name']}",
                "leave -J name out, or say --judge metric",
            )
        return spec.model_copy(
            update={
                "checkpoints": references if reference else {**references, **spec.checkpoints},
                "settings": {**settings, **spec.settings, "name": name},
            }
        )

    @classmethod
    def parse(cls, given: Mapping[str, Setting]) -> dict[str, Setting]:
        """Return options with their types (see `harness.models.base.JudgeFactory`)."""
        mine, rest = _split(given)
        return resolved(mine) | typed(mine.name, rest)

    @classmethod
    def check(
        cls, parts: Collection[str], settings: Mapping[str, Setting], benchmark: Benchmark
    ) -> None:
        """Look at settings and parts (see `harness.models.base.JudgeFactory`)."""
        own, rest = _split(settings)
        check(own.name, dict.fromkeys(parts), rest, benchmark, flag="-J", beside=["accept"])

    @classmethod
    def load(cls, loading: Loading, benchmark: Benchmark) -> MetricJudge:
        """Load the metric (see `harness.models.base.JudgeFactory`)."""
        cls.check(loading.checkpoints, loading.settings, benchmark)
        own, rest = _split(loading.settings)
        metric = METRICS.get(own.name).load(replace(loading, settings=rest))
        return cls(metric, own.accept)

    def judge(
        self, prompts: Sequence[Prompt], images: Sequence[Image], seeds: Sequence[int]
    ) -> list[tuple[Verdict, Cost]]:
        """Measure each image (see `harness.models.base.Judge`)."""
        looks = [Look(*row) for row in zip(prompts, images, seeds, strict=True)]
        return [(of_metric(value, self.accept), cost) for value, cost in self.metric.measure(looks)]


def _split(settings: Mapping[str, Setting]) -> tuple[MetricJudgeSettings, dict[str, Setting]]:
    own = {name: settings[name] for name in ("name", "accept") if name in settings}
    rest = {name: value for name, value in settings.items() if name not in own}
    return build(MetricJudgeSettings, own, flag="-J", title="judge metric"), rest
