from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.analysis.loading import load_run
from harness.analysis.logged_run import LoggedRun
from tests.runs import run, stub_plan
from tests.stubs import Faults, make_stub_suite

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
