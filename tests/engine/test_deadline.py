"""A batch that hangs in the driver's own process ends the run, and the run goes on from its log."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.engine.deadline import DeadlineExceeded, deadline, watched
from harness.engine.executors.base import Patience
from harness.engine.launch import Execution
from harness.errors import HarnessError
from harness.log.manifest import Manifest
from harness.log.run_folder import RunFolder
from tests.runs import contents, run, stub_plan
from tests.stubs import make_stub_suite
from tests.terminal import ROOT

INLINE = Execution(executor="inline", patience=Patience(batch=2.0, first=60.0))

STUCK = """\
import hashlib
from harness.engine import deadline
from harness.errors import HarnessError
deadline.GRACE_SECONDS = 0.5
with deadline.watched(0.5, HarnessError("it hangs", "do something else")):
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
"""
"""Stuck in C, where no signal handler of Python's gets a turn."""


@pytest.mark.slow
def test_an_inline_batch_past_its_deadline_ends_the_run_which_resumes(tmp_path: Path) -> None:
    suite, faults = make_stub_suite(tmp_path)
    ready = stub_plan(suite)
    run(ready, tmp_path / "calm")
    faults.add("generator", "hang", "once-thing 3")
    folder = RunFolder(tmp_path / "rough")
    with pytest.raises(HarnessError, match="generator ran past its deadline of 2 s") as caught:
        run(ready, folder.path, execution=INLINE)
    assert "--executor ray" in caught.value.hint and caught.value.exit_code == 1
    (session,) = Manifest.read(folder.manifest).sessions
    assert "past its deadline" in session["outcome"] and session["draws"] > 0
    progress = run(ready, folder.path, execution=INLINE)
    assert progress is not None and progress.draws == 40 - session["draws"]
    assert contents(folder.path) == contents(tmp_path / "calm")


def test_code_that_cannot_be_interrupted_ends_with_the_process() -> None:
    done = subprocess.run([sys.executable, "-c", STUCK], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines() == ["error: it hangs", "hint: do something else"]


def test_a_plug_in_cannot_swallow_the_deadline() -> None:
    with pytest.raises(HarnessError, match="it hangs"), watched(0.2, HarnessError("it hangs")):
        try:
            time.sleep(60)
        except Exception:
            pytest.fail("swallowed")


def test_what_ends_in_time_is_left_alone() -> None:
    def left() -> float:
        return signal.getitimer(signal.ITIMER_REAL)[0]

    outer, handler = left(), signal.getsignal(signal.SIGALRM)  # of whoever limits this test
    with watched(30.0, HarnessError("it hangs")):
        assert 29 < left() <= 30
        with deadline(10.0):
            assert 9 < left() <= 10
        assert 29 < left() <= 30
    assert left() == pytest.approx(outer, abs=1) and signal.getsignal(signal.SIGALRM) == handler
    with watched(Patience().batch, HarnessError("it hangs")):
        assert left() == pytest.approx(outer, abs=1)


def test_an_inner_deadline_raises_its_own_error_and_leaves_the_handler_to_the_outer() -> None:
    with deadline(0):
        for _ in range(2):
            with pytest.raises(DeadlineExceeded), deadline(0.05):
                time.sleep(60)
            with pytest.raises(KeyError), deadline(0.05, KeyError):
                time.sleep(60)


def test_an_alarm_that_an_earlier_block_left_cuts_none_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alarms: list[float] = []
    set_alarm = signal.setitimer
    with deadline(0):
        monkeypatch.setattr(signal, "setitimer", lambda _, s: alarms.append(s) or set_alarm(_, s))
        for _ in range(9):
            with deadline(0.2):
                pass
        assert len(alarms) == 1
        time.sleep(0.15)
        with deadline(0.2):
            time.sleep(0.1)  # past the alarm of the first
        with pytest.raises(DeadlineExceeded), deadline(0.05):
            time.sleep(60)


def test_a_first_batch_may_take_longer_and_zero_is_no_limit() -> None:
    assert Patience.of(10.0) == Patience(batch=10.0, first=30.0, load=1800.0)
    assert Patience.of(1000.0).load == 3000.0
    assert Patience.of(0) == Patience() and Patience().batch == float("inf")
