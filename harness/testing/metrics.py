"""What every metric must keep. Subclass `MetricContract` to hold yours against it.

class TestMine(MetricContract):
    @pytest.fixture(scope="class")
    def metric(self):
        return MyMetric.load(Loading(...))

    @pytest.fixture(scope="class")
    def looks(self):
        return [Look(prompt, image), ...]
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from harness.models.base import Metric
from harness.records import Cost, Look


class MetricContract:
    """Rows depend on themselves alone, order is kept, values and costs are sane."""

    @pytest.fixture(scope="class")
    def metric(self) -> Metric:
        """The metric, loaded on the CPU with a batch size above 1."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    def looks(self) -> list[Look]:
        """More images than a batch holds, with their prompts, of at least two values."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    def answers(self, metric: Metric, looks: list[Look]) -> list[tuple[float, Cost]]:
        """What they come out as."""
        return metric.measure(looks)

    def test_its_options_and_parts_are_known_unloaded(self, metric: Metric) -> None:
        factory = type(metric)
        assert dataclasses.is_dataclass(factory.Settings)  # type: ignore[attr-defined]
        assert isinstance(factory.main_part, str)  # type: ignore[attr-defined]
        assert all(map(str, factory.checkpoints.values()))  # type: ignore[attr-defined]

    def test_each_row_gets_a_finite_number(
        self, answers: list[tuple[float, Cost]], looks: list[Look]
    ) -> None:
        assert len(answers) == len(looks) >= 2
        assert all(isinstance(value, float) and math.isfinite(value) for value, _ in answers)
        assert len({value for value, _ in answers}) > 1

    def test_a_row_depends_on_itself_alone(
        self, metric: Metric, looks: list[Look], answers: list[tuple[float, Cost]]
    ) -> None:
        for look, answer in zip(looks, answers, strict=True):
            assert metric.measure([look]) == [answer]
        assert metric.measure(looks[::-1])[::-1] == answers

    def test_the_images_are_left_as_they_were(self, metric: Metric, looks: list[Look]) -> None:
        copies = [look.image.copy() for look in looks]
        metric.measure(looks)
        for look, copy in zip(looks, copies, strict=True):
            assert np.array_equal(look.image, copy)

    def test_costs_are_sane(self, answers: list[tuple[float, Cost]]) -> None:
        for _, cost in answers:
            assert cost.flops is None or (math.isfinite(cost.flops) and cost.flops >= 0)
            # NFE counts the generator's network; the worker that runs a model holds the clock.
            assert cost.tokens >= 0 and cost.nfe == 0 and cost.device_seconds == 0

    def test_nothing_asked_nothing_measured(self, metric: Metric) -> None:
        assert metric.measure([]) == []
