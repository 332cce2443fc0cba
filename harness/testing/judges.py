"""The promises of a judge. Subclass `JudgeContract` to hold yours against it.

class TestMine(JudgeContract):
    @pytest.fixture(scope="class")
    @classmethod
    def judge(cls):
        return MyJudge.load(Loading(...), benchmark)

and with `pairs`, as `harness.testing.looks` shows.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.engine.validate import check_verdict
from harness.models.base import Judge
from harness.records import Cost, Look, Role, Verdict
from harness.testing.looks import Ask, LookContract


class JudgeContract(LookContract):
    """A judge is what everything that looks at images is, and its verdicts can be ranked."""

    role = Role.JUDGE

    @pytest.fixture(scope="class")
    @classmethod
    def judge(cls) -> Judge:
        """The judge, loaded on the CPU."""
        raise NotImplementedError("return the judge to be tested")

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
