from __future__ import annotations

from pathlib import Path

import pytest

from tests.runs import run, stub_plan
from tests.stubs import Faults, make_stub_suite


def give_judge_a_folder(suite: Path) -> None:
    """Have the judge of a suite of stubs share no checkpoint with its scorer."""
    root = suite.parent
    Faults.make(root / "judge")
    (root / "judge" / "config.json").write_text('{"judge": true}')
    generator, judge = suite.read_text().split("[judge]")
    judge = judge.replace(f"{root / 'faults'}", f"{root / 'judge'}", 1)
    suite.write_text(f"{generator}[judge]{judge}")


@pytest.fixture(scope="session")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good run of stub models, with feedback; judge and scorer have folders of their own."""
    root = tmp_path_factory.mktemp("honest")
    suite, _ = make_stub_suite(root)
    give_judge_a_folder(suite)
    run(stub_plan(suite, strategy="reflect", budget=4), root / "run")
    return root / "run"
