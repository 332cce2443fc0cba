from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.models.base import CostOf, ExpectedCost
from harness.records import Loading, Made
from tests.stubs import StubGenerator, StubJudge

DECODING = 7e8


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> float:
    """Have the stubs' judge say the same of an image under any seed, and their cost be known.

    Returns:
        FLOPs that each draw takes besides its steps.
    """
    judge = StubJudge.judge

    def unseeded(self: StubJudge, prompts: Any, images: Any, seeds: list[int]) -> Any:
        return judge(self, prompts, images, [0] * len(seeds))

    def expected(loading: Loading) -> CostOf:
        return lambda request: ExpectedCost(None, 5e8, DECODING)

    generate = StubGenerator.generate

    def decoding(self: StubGenerator, requests: Any) -> list[Made]:
        return [
            replace(made, cost=replace(made.cost, flops=(made.cost.flops or 0) + DECODING))
            for made in generate(self, requests)
        ]

    monkeypatch.setattr(StubJudge, "judge", unseeded)
    monkeypatch.setattr(StubJudge, "samples", False, raising=False)
    monkeypatch.setattr(StubGenerator, "expected_cost", expected, raising=False)
    monkeypatch.setattr(StubGenerator, "generate", decoding)
    return DECODING
