"""The metrics of a run as one model: what they are loaded from, and what a worker holds of them.

A run's spec of its metrics has their names as its kind, with commas between, and parts and settings
by "NAME.PART". So they are located, digested and compared as any other role's are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from benchmarks.base import Benchmark
from harness import options
from harness.errors import UsageError, did_you_mean
from harness.models.base import Metric
from harness.models.suites import ModelSpec
from harness.records import FREE, Cost, Loading, Look, Setting
from harness.registry import METRICS

T = TypeVar("T")


class Metrics:
    """Several metrics that measure the same images. Has state: their weights.

    Attributes:
        metrics: By name.
    """

    def __init__(self, metrics: Mapping[str, Metric]) -> None:
        self.metrics = metrics

    @classmethod
    def load(cls, loading: Loading, names: Sequence[str]) -> Metrics:
        """Load metrics, one after the other."""
        return cls({name: METRICS.get(name).load(part_of(loading, name)) for name in names})

    def measure(self, looks: Sequence[Look]) -> list[tuple[dict[str, float], Cost]]:
        """Measure each image by every metric; the cost is that of all together."""
        answers = {name: metric.measure(looks) for name, metric in self.metrics.items()}
        for name, rows in answers.items():
            if len(rows) != len(looks):
                raise ValueError(f"the metric '{name}' answered {len(rows)} of {len(looks)} rows")
        return [
            (
                {name: float(rows[place][0]) for name, rows in answers.items()},
                sum((rows[place][1] for rows in answers.values()), FREE),
            )
            for place in range(len(looks))
        ]


def metric_names(spec: ModelSpec | None) -> tuple[str, ...]:
    """Return the names of the metrics that a run's spec of them is of."""
    return tuple(filter(None, spec.kind.split(","))) if spec else ()


def own(values: Mapping[str, T], name: str) -> dict[str, T]:
    """Return what belongs to a metric among values by "NAME.PART", by part."""
    prefix = f"{name}."
    return {
        key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)
    }


def part_of(loading: Loading, name: str) -> Loading:
    """Return what one of several metrics is loaded from."""
    settings = own(loading.settings, name)
    return replace(loading, checkpoints=own(loading.checkpoints, name), settings=settings)


def single(given: str, base: ModelSpec) -> tuple[str, dict[str, str], dict[str, Setting]]:
    """Return name, checkpoint references and settings of a metric as a user names it.

    Args:
        given: "NAME" or "NAME=REF", with a checkpoint for its main part.
        base: A suite's references and settings of metrics, by "NAME.PART".

    Raises:
        UsageError: An unknown name, no checkpoint after "=", or one for a metric without any.
    """
    name, equals, reference = given.strip().partition("=")
    factory = METRICS.get(name)
    references = {**factory.checkpoints, **own(base.checkpoints, name)}
    if equals:
        if not factory.main_part:
            raise UsageError(f"the metric '{name}' takes no checkpoint", f"say {name}")
        if not reference:
            raise UsageError(f"'{given}' names no checkpoint", f"say {name} or {name}=REF")
        references[factory.main_part] = reference
    return name, references, own(base.settings, name)


def several(
    given: Sequence[str], base: ModelSpec
) -> tuple[list[str], dict[str, str], dict[str, Setting]]:
    """Return the names of metrics, each as of `single`; references and settings by "NAME.PART"."""
    named = [single(each, base) for each in given]
    references = {f"{name}.{part}": ref for name, parts, _ in named for part, ref in parts.items()}
    settings = {f"{name}.{key}": value for name, _, of in named for key, value in of.items()}
    return [name for name, _, _ in named], references, settings


def chosen(given: Sequence[str], base: ModelSpec, benchmark: Benchmark) -> ModelSpec | None:
    """Return the spec of the metrics that a user names; None without any.

    Args:
        given: Each as of `single`.
        base: A suite's; number format and batch size are those of all.
        benchmark: What the images are made for.

    Raises:
        UsageError: A metric is named twice, or cannot be loaded or measure such images.
    """
    names, references, settings = several(given, base)
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"the metric '{name}' is named twice", "name it once")
        values = own(settings, name)
        check(name, own(references, name), values, benchmark)
        complete = options.resolved(options.build(METRICS.get(name).Settings, values, flag=""))
        settings |= {f"{name}.{key}": value for key, value in complete.items()}
    if not names:
        return None
    return base.model_copy(
        update={
            "kind": ",".join(sorted(names)),
            "checkpoints": references,
            "settings": settings,
        }
    )


def typed(name: str, settings: Mapping[str, Setting]) -> dict[str, Setting]:
    """Return options of a metric with their types; what it does not have is for `check` to refuse.

    Raises:
        UsageError: An unknown metric, or a value that an option does not take.
    """
    kind = METRICS.get(name).Settings
    known = {key: value for key, value in settings.items() if key in kind.__dataclass_fields__}
    complete = options.resolved(options.build(kind, known, flag="-J", title=f"metric {name}"))
    return {**settings, **{key: complete[key] for key in known}}


def check(
    name: str,
    parts: Mapping[str, object],
    settings: Mapping[str, Setting],
    benchmark: Benchmark,
    *,
    flag: str = "metric setting",
    beside: Collection[str] = (),
) -> None:
    """Refuse at planning time what a metric cannot be loaded with, or cannot measure.

    Args:
        name: The metric.
        parts: Its checkpoints, by part.
        settings: Its options.
        benchmark: What the images are made for.
        flag: How its options are given, for messages.
        beside: Options of whoever is made of it, which a misspelt one may mean.

    Raises:
        UsageError: An unknown metric or option, a value that it does not take, a checkpoint too
            few or too many, or a benchmark whose images it cannot measure.
    """
    factory = METRICS.get(name)
    if own_check := getattr(factory, "check", None):
        own_check(parts, settings, benchmark)
    own_options = factory.Settings.__dataclass_fields__
    if strange := [option for option in settings if option not in own_options]:
        raise UsageError(
            f"the metric '{name}' has no option '{strange[0]}'",
            did_you_mean(strange[0], [*beside, *own_options]),
        )
    options.build(factory.Settings, settings, flag=flag, title=f"metric {name}")
    known = {*factory.checkpoints, factory.main_part, "processor"} - {""}
    for part in parts:
        if part not in known:
            raise UsageError(f"the metric '{name}' has no part '{part}'", did_you_mean(part, known))
    for part in {factory.main_part, *factory.checkpoints} - {""}:
        if part not in parts:
            raise UsageError(
                f"the metric '{name}' needs a checkpoint for its {part}",
                f"name one: {name}=REF, or in a suite's file as '{name}.{part}' among "
                "[metric.checkpoints]",
            )
