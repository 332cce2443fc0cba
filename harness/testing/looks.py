"""The promises of all that looks at images: judges, scorers, metrics. Subclass its contract.

class TestMine(JudgeContract):
    @pytest.fixture(scope="class")
    @classmethod
    def judge(cls):
        return MyJudge.load(Loading(...), benchmark)

    @pytest.fixture(scope="class")
    @classmethod
    def pairs(cls):
        return [(prompt, image), ...]

and likewise with the fixture `scorer` or `metric` for the others.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchmarks.base import Scorer
from harness.engine.validate import check_cost, check_score, check_verdict
from harness.models.base import Judge, Metric
from harness.records import Cost, Image, Look, Prompt, Role, Score, Verdict

Ask = Callable[[Sequence[Look]], list[tuple[Any, Cost]]]
"""Return the answers to a batch, in order, with what each cost."""


class LookContract:
    """Rows depend on themselves alone, order is kept, images are left alone, costs are sane.

    Define the fixture `pairs`: a full batch of at least two prompts with an image each, not all
    answered alike. The call that is held to the contract, the fixture `ask`, is defined by each
    kind of plug-in's class.
    """

    role: Role = Role.SCORER

    @pytest.fixture(scope="class")
    @classmethod
    def looks(cls, pairs: list[tuple[Prompt, Image]]) -> list[Look]:
        """The batch; a row keeps its seed wherever it stands."""
        assert len(pairs) >= 2, "give at least two pairs"
        return [Look(prompt, image, 1000 + n) for n, (prompt, image) in enumerate(pairs)]

    @pytest.fixture(scope="class")
    @classmethod
    def answers(cls, ask: Ask, looks: list[Look]) -> list[tuple[Any, Cost]]:
        """The answers to the full batch."""
        return ask(looks)

    def test_each_row_gets_one_answer(
        self, answers: list[tuple[Any, Cost]], looks: list[Look]
    ) -> None:
        assert len(answers) == len(looks)

    def test_a_row_depends_on_itself_alone(
        self, ask: Ask, looks: list[Look], answers: list[tuple[Any, Cost]]
    ) -> None:
        expected = [answer for answer, _ in answers]
        assert [ask([look])[0][0] for look in looks] == expected
        assert [answer for answer, _ in ask(looks[::-1])][::-1] == expected

    def test_asking_again_gives_the_same(
        self, ask: Ask, looks: list[Look], answers: list[tuple[Any, Cost]]
    ) -> None:
        assert [answer for answer, _ in ask(looks)] == [answer for answer, _ in answers]

    def test_the_images_are_left_as_they_were(self, ask: Ask, looks: list[Look]) -> None:
        copies = [look.image.copy() for look in looks]
        ask(looks)
        for look, copy in zip(looks, copies, strict=True):
            assert np.array_equal(look.image, copy)

    def test_costs_are_sane(self, answers: list[tuple[Any, Cost]]) -> None:
        for _, cost in answers:
            check_cost(self.role, cost)
            # NFE counts the generator's network; the worker that runs a model holds the clock.
            assert cost.nfe == 0 and cost.device_seconds == 0

    def test_no_images_no_answers(self, ask: Ask) -> None:
        assert ask([]) == []


class JudgeContract(LookContract):
    """A judge is what everything that looks at images is, and its verdicts can be ranked.

    Define the fixture `judge` too: the judge, loaded on the CPU.
    """

    role = Role.JUDGE

    @pytest.fixture(scope="class")
    @classmethod
    def ask(cls, judge: Judge) -> Ask:
        """The judge's verdicts on a batch."""
        return lambda looks: judge.judge(
            [look.prompt for look in looks],
            [look.image for look in looks],
            [look.seed for look in looks],
        )

    def test_it_declares_whether_it_is_an_oracle(self, judge: Judge) -> None:
        assert type(judge).oracle in (False, True)  # type: ignore[attr-defined]
        assert isinstance(type(judge).main_part, str)  # type: ignore[attr-defined]

    def test_each_verdict_can_be_logged(self, answers: list[tuple[Verdict, Cost]]) -> None:
        for verdict, _ in answers:
            check_verdict(verdict)
            assert isinstance(verdict.sentence, str)
            assert not (verdict.accepted and verdict.sentence)

    def test_one_that_samples_nothing_says_the_same_under_any_seed(
        self, judge: Judge, ask: Ask, looks: list[Look], answers: list[tuple[Verdict, Cost]]
    ) -> None:
        if not getattr(type(judge), "samples", True):
            others = ask([replace(look, seed=look.seed + 1) for look in looks])
            assert [verdict for verdict, _ in others] == [verdict for verdict, _ in answers]

    def test_what_is_accepted_ranks_above_what_is_not(
        self, answers: list[tuple[Verdict, Cost]]
    ) -> None:
        accepted = [verdict.score for verdict, _ in answers if verdict.accepted]
        rejected = [verdict.score for verdict, _ in answers if not verdict.accepted]
        if accepted and rejected:
            assert min(accepted) > max(rejected)


class MetricContract(LookContract):
    """A metric is what everything that looks at images is, and its values tell images apart.

    Define the fixture `metric` too: the metric, loaded on the CPU with a batch size above 1.
    """

    @pytest.fixture(scope="class")
    @classmethod
    def ask(cls, metric: Metric) -> Ask:
        """The metric's values of a batch."""
        return metric.measure

    def test_its_options_and_parts_are_known_unloaded(self, metric: Metric) -> None:
        factory = type(metric)
        assert dataclasses.is_dataclass(factory.Settings)  # type: ignore[attr-defined]
        assert isinstance(factory.main_part, str)  # type: ignore[attr-defined]
        assert all(map(str, factory.checkpoints.values()))  # type: ignore[attr-defined]

    def test_each_row_gets_a_finite_number(self, answers: list[tuple[float, Cost]]) -> None:
        assert all(isinstance(value, float) and math.isfinite(value) for value, _ in answers)
        assert len({value for value, _ in answers}) > 1


class ScorerContract(LookContract):
    """A scorer is what everything that looks at images is, and what it answers can be logged.

    Define the fixture `scorer` too: the scorer, loaded on the CPU.
    """

    @pytest.fixture(scope="class")
    @classmethod
    def ask(cls, scorer: Scorer) -> Ask:
        """The scorer's grades of a batch."""
        return lambda looks: scorer.score(
            [look.prompt for look in looks], [look.image for look in looks]
        )

    def test_each_score_can_be_logged(self, answers: list[tuple[Score, Cost]]) -> None:
        for score, _ in answers:
            check_score(score)
            assert isinstance(score.reason, str)
            assert not (score.correct and score.reason)
