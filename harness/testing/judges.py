"""What every judge must keep. Subclass `JudgeContract` to hold yours against it.

class TestMine(JudgeContract):
    @pytest.fixture(scope="class")
    def judge(self):
        return MyJudge.load(Loading(...), benchmark)

    @pytest.fixture(scope="class")
    def pairs(self):
        return [(prompt, image), ...]
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.models.base import Judge
from harness.records import Cost, Image, Prompt, Verdict


class JudgeContract:
    """Rows depend on themselves alone, order is kept, verdicts and costs are sane."""

    @pytest.fixture(scope="class")
    def judge(self) -> Judge:
        """The judge, loaded on the CPU."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    def pairs(self) -> list[tuple[Prompt, Image]]:
        """A full batch of at least two prompts with an image each."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    def answers(
        self, judge: Judge, pairs: list[tuple[Prompt, Image]]
    ) -> list[tuple[Verdict, Cost]]:
        """What the full batch comes out as."""
        return _ask(judge, pairs)

    def test_it_says_whether_it_is_an_oracle(self, judge: Judge) -> None:
        assert type(judge).oracle in (False, True)  # type: ignore[attr-defined]

    def test_each_row_gets_a_sane_verdict(
        self, answers: list[tuple[Verdict, Cost]], pairs: list[tuple[Prompt, Image]]
    ) -> None:
        assert len(answers) == len(pairs) >= 2
        for verdict, _ in answers:
            assert isinstance(verdict.accepted, bool)
            assert math.isfinite(verdict.score)
            assert isinstance(verdict.sentence, str)
            assert not (verdict.accepted and verdict.sentence)

    def test_what_is_accepted_ranks_above_what_is_not(
        self, answers: list[tuple[Verdict, Cost]]
    ) -> None:
        accepted = [verdict.score for verdict, _ in answers if verdict.accepted]
        rejected = [verdict.score for verdict, _ in answers if not verdict.accepted]
        if accepted and rejected:
            assert min(accepted) > max(rejected)

    def test_a_row_depends_on_itself_alone(
        self,
        judge: Judge,
        pairs: list[tuple[Prompt, Image]],
        answers: list[tuple[Verdict, Cost]],
    ) -> None:
        expected = [verdict for verdict, _ in answers]
        for number, verdict in enumerate(expected):
            assert _ask(judge, pairs, only=number)[0][0] == verdict
        backwards = _ask(judge, pairs, backwards=True)
        assert [verdict for verdict, _ in backwards][::-1] == expected

    def test_asking_again_gives_the_same(
        self,
        judge: Judge,
        pairs: list[tuple[Prompt, Image]],
        answers: list[tuple[Verdict, Cost]],
    ) -> None:
        assert [v for v, _ in _ask(judge, pairs)] == [v for v, _ in answers]

    def test_the_images_are_left_as_they_were(
        self, judge: Judge, pairs: list[tuple[Prompt, Image]]
    ) -> None:
        copies = [image.copy() for _, image in pairs]
        _ask(judge, pairs)
        for (_, image), copy in zip(pairs, copies, strict=True):
            assert np.array_equal(image, copy)

    def test_costs_are_sane(self, answers: list[tuple[Verdict, Cost]]) -> None:
        for _, cost in answers:
            assert cost.flops is None or (math.isfinite(cost.flops) and cost.flops >= 0)
            assert cost.tokens >= 0
            # NFE counts the generator's network; the worker that runs a model holds the clock.
            assert cost.nfe == 0 and cost.device_seconds == 0

    def test_nothing_asked_nothing_said(self, judge: Judge) -> None:
        assert judge.judge([], [], []) == []


def _ask(
    judge: Judge,
    pairs: list[tuple[Prompt, Image]],
    *,
    only: int | None = None,
    backwards: bool = False,
) -> list[tuple[Verdict, Cost]]:
    # A row keeps its seed wherever it stands.
    rows = [(prompt, image, 1000 + number) for number, (prompt, image) in enumerate(pairs)]
    if only is not None:
        rows = [rows[only]]
    if backwards:
        rows = rows[::-1]
    return judge.judge([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows])
