from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.runs.loading import load_run
from harness.runs.logged_run import LoggedRun
from tests.runs import run, stub_plan

MakeRun = Callable[..., LoggedRun]


@pytest.fixture
def make_run(tmp_path: Path, suite: Path) -> MakeRun:
    """Runs of stub models: `make_run("name", strategy=…, budget=…)`."""

    def make(name: str, **ask: Any) -> LoggedRun:
        run(stub_plan(suite, **ask), tmp_path / name)
        return load_run(tmp_path / name)

    return make
