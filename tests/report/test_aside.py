"""Work in a copy of the process has the result that it would have here."""

from __future__ import annotations

import os
import signal

import pytest

from harness.report.aside import aside

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
