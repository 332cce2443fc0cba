"""The promises of all that looks at images: judges, scorers, metrics.

class TestMine(…):
    @pytest.fixture(scope="class")
    @classmethod
    def pairs(cls):
        return [(prompt, image), ...]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from harness.engine.validate import check_cost
from harness.records import Cost, Image, Look, Prompt, Role

Ask = Callable[[Sequence[Look]], list[tuple[Any, Cost]]]
"""Return the answers to a batch, in order, with what each cost."""


class LookContract:
    """Rows depend on themselves alone, order is kept, images are left alone, costs are sane."""

    role: Role = Role.SCORER

    @pytest.fixture(scope="class")
    @classmethod
    def pairs(cls) -> list[tuple[Prompt, Image]]:
        """A full batch of at least two prompts with an image each, not all answered alike."""
        raise NotImplementedError("return prompts with an image each")

    @pytest.fixture(scope="class")
    @classmethod
    def ask(cls) -> Ask:
        """The call that is held to the contract, defined by each kind of plug-in's class."""
        raise NotImplementedError

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
