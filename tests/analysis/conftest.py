from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.analysis.loading import load_run
from harness.analysis.logged_run import LoggedRun
from harness.models.base import CostOf, ExpectedCost
from harness.records import Loading, Made
from tests.runs import run, stub_plan
from tests.stubs import Faults, StubGenerator, StubJudge, make_stub_suite

MakeRun = Callable[..., LoggedRun]


@pytest.fixture
def suite(tmp_path: Path) -> tuple[Path, Faults]:
    return make_stub_suite(tmp_path)


@pytest.fixture
def make_run(tmp_path: Path, suite: tuple[Path, Faults]) -> MakeRun:
    """Runs of stub models: `make_run("name", strategy=…, budget=…)`."""

    def make(name: str, **ask: Any) -> LoggedRun:
        run(stub_plan(suite[0], **ask), tmp_path / name)
        return load_run(tmp_path / name)

    return make


DECODING = 7e8
"""FLOPs that each draw of the stubs takes besides its steps, where `steady` is asked for."""


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the stubs' judge say the same of an image under any seed, and their cost be known."""
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
