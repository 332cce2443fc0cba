from __future__ import annotations

from pathlib import Path

import pytest

from tests.runs import run, stub_plan
from tests.stubs import Faults, make_stub_suite


@pytest.fixture(scope="session")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good run of stub models, with feedback; judge and scorer have folders of their own."""
    root = tmp_path_factory.mktemp("honest")
    suite, _ = make_stub_suite(root)
    Faults.make(root / "judge")
    (root / "judge" / "config.json").write_text('{"judge": true}')
    generator, judge = suite.read_text().split("[judge]")
    judge = judge.replace(f"{root / 'faults'}", f"{root / 'judge'}", 1)
    suite.write_text(f"{generator}[judge]{judge}")
    run(stub_plan(suite, strategy="reflect", budget=4), root / "run")
    return root / "run"
