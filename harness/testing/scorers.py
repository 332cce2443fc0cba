"""The promises of a scorer. Subclass `ScorerContract` to hold your benchmark's against it.

class TestMine(ScorerContract):
    @pytest.fixture(scope="class")
    @classmethod
    def scorer(cls):
        return MyBenchmark().load_scorer(...)

and with `pairs`, as `harness.testing.looks` shows.
"""

from __future__ import annotations

import pytest

from benchmarks.base import Scorer
from harness.engine.validate import check_score
from harness.records import Cost, Role, Score
from harness.testing.looks import Ask, LookContract


class ScorerContract(LookContract):
    """A scorer is what everything that looks at images is, and what it answers can be logged."""

    role = Role.SCORER

    @pytest.fixture(scope="class")
    @classmethod
    def scorer(cls) -> Scorer:
        """The scorer, loaded on the CPU."""
        raise NotImplementedError("return the scorer to be tested")

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
