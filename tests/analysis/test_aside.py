"""Work in a copy of the process has the result that it would have here."""

from __future__ import annotations

import os
import signal

import pandas as pd
import pytest

from harness.analysis import findings
from harness.analysis.aside import aside
from tests.analysis.conftest import MakeRun

HERE = os.getpid()


def test_a_copy_does_the_work() -> None:
    assert aside(os.getpid)() != HERE


def test_an_error_is_raised_here() -> None:
    with pytest.raises(ZeroDivisionError):
        aside(lambda: 1 // 0)()


def test_what_a_killed_copy_began_is_done_here() -> None:
    def work() -> int:
        if os.getpid() != HERE:
            os.kill(os.getpid(), signal.SIGKILL)
        return os.getpid()

    assert aside(work)() == HERE


def test_curves_are_the_same_wherever_they_are_replayed(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [make_run(name, strategy=name, budget=4) for name in ("best-of-n", "reflect", "single")]
    here = findings.findings_of(runs)
    monkeypatch.setattr(findings, "MANY_SEARCHES", 0)
    shared = findings.findings_of(runs)
    assert [of.run for of in shared.curves] == runs
    pd.testing.assert_frame_equal(shared.scaling, here.scaling, check_exact=True)
