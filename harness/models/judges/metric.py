"""A judge made of a metric: it ranks by the metric's value and accepts from a threshold on.

What one metric steers another can measure: a metric is written once (`harness.models.base.Metric`)
and serves as judge, as held-out metric and for images from elsewhere.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from benchmarks.base import Benchmark
from harness import options
from harness.errors import UsageError, did_you_mean
from harness.models.base import Metric
from harness.records import Ability, Cost, Image, Loading, Look, Prompt, Setting, Verdict
from harness.registry import METRICS


@dataclass(frozen=True)
class MetricJudgeSettings:
    """Which metric, and what it accepts. Further options are the metric's own.

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
    abilities: ClassVar[frozenset[Ability]] = frozenset()
    main_part: ClassVar[str] = ""
    Settings: ClassVar[type] = MetricJudgeSettings

    def __init__(self, metric: Metric, accept: float | None) -> None:
        self.metric = metric
        self.accept = accept

    @classmethod
    def check(
        cls, parts: Collection[str], settings: Mapping[str, Setting], benchmark: Benchmark
    ) -> None:
        """Look at settings and parts (see `harness.models.base.JudgeFactory`).

        Raises:
            UsageError: An unknown metric or option, a value that it does not take, or a
                checkpoint too few or too many.
        """
        own, rest = _split(settings)
        check_metric(own.name, parts, rest, benchmark)

    @classmethod
    def load(cls, loading: Loading, benchmark: Benchmark) -> MetricJudge:
        """Load the metric (see `harness.models.base.JudgeFactory`).

        Raises:
            UsageError: As of `check`.
            HarnessError: A checkpoint is missing, damaged or another model's.
        """
        cls.check(loading.checkpoints, loading.settings, benchmark)
        own, rest = _split(loading.settings)
        factory = METRICS.get(own.name)
        metric = factory.load(
            Loading(loading.checkpoints, loading.device, loading.dtype, loading.batch_size, rest)
        )
        return cls(metric, own.accept)

    def judge(
        self, prompts: Sequence[Prompt], images: Sequence[Image], seeds: Sequence[int]
    ) -> list[tuple[Verdict, Cost]]:
        """Measure each image (see `harness.models.base.Judge`)."""
        looks = [Look(*row) for row in zip(prompts, images, seeds, strict=True)]
        accept = float("inf") if self.accept is None else self.accept
        return [
            (Verdict(value >= accept, value), cost) for value, cost in self.metric.measure(looks)
        ]


def check_metric(
    name: str, parts: Collection[str], settings: Mapping[str, Setting], benchmark: Benchmark
) -> None:
    """Refuse at planning time what a metric cannot be loaded with, or cannot measure.

    Raises:
        UsageError: An unknown metric or option, a value that it does not take, a checkpoint too
            few or too many, or a benchmark whose images it cannot measure.
    """
    factory = METRICS.get(name)
    options.build(factory.Settings, settings, flag="metric setting", title=f"metric {name}")
    known = {*factory.checkpoints, factory.main_part, "processor"} - {""}
    for part in parts:
        if part not in known:
            raise UsageError(f"the metric '{name}' has no part '{part}'", did_you_mean(part, known))
    for part in {factory.main_part, *factory.checkpoints} - {""}:
        if part not in parts:
            raise UsageError(
                f"the metric '{name}' needs a checkpoint for its {part}",
                f"name one: {name}=REF, or in a suite's file under [metrics.{name}.checkpoints]",
            )
    if check := getattr(factory, "check", None):
        check(parts, settings, benchmark)


def _split(settings: Mapping[str, Setting]) -> tuple[MetricJudgeSettings, dict[str, Setting]]:
    own = {name: settings[name] for name in ("name", "accept") if name in settings}
    rest = {name: value for name, value in settings.items() if name not in own}
    return options.build(MetricJudgeSettings, own, flag="-J", title="judge metric"), rest
