from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.log.run_folder import RunFolder
from tests.perf.driver import Count, DriverRun
from tests.perf.kills import kill_again_and_again
from tests.terminal import PATIENCE, ROOT, wait_until

SMALL = DriverRun("", "", prompts=60, budget=4, latency=0.002)


@pytest.mark.slow
def test_a_killed_driver_loses_nothing(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    result = kill_again_and_again(
        tmp_path, kills=2, run=SMALL, seed=1, observe=lambda *count: seen.append(count)
    )
    assert result.rows_equal and result.images_equal
    assert 1 <= result.kills <= 2 and result.candidates == 240
    assert 0 <= result.repeated < 2 * 240 and seen[-1] == (4, 4)
    assert 0 < result.starting_seconds < result.seconds
    saved = {path.stem for path in RunFolder(tmp_path / "disturbed").images.glob("*/*")}
    assert len(saved) == 60, "of every search, what it selected"


def test_a_driver_that_fails_by_itself_is_no_kill(tmp_path: Path) -> None:
    (tmp_path / "whole").write_text("a file where the run should be")
    with pytest.raises(HarnessError, match="failed by itself"):
        kill_again_and_again(tmp_path, kills=1, run=SMALL)


@pytest.mark.slow
def test_the_second_driver_is_refused_and_a_dead_one_blocks_nobody(tmp_path: Path) -> None:
    run = replace(SMALL, folder=str(tmp_path / "run"), prompts=5000, latency=0.05)

    def drawn(name: str) -> int:
        return Count.read(tmp_path / name).drawn

    def start(name: str) -> subprocess.Popen[str]:
        command = replace(run, count=str(tmp_path / name)).command
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)

    first = start("first")
    try:
        wait_until(lambda: drawn("first") > 0, first)
        before = drawn("first")
        second = start("second")
        _, errors = second.communicate(timeout=PATIENCE)
        assert second.returncode and f"another process (pid {first.pid}) is writing" in errors
        assert not drawn("second")
        wait_until(lambda: drawn("first") > before, first)  # it goes on undisturbed
        first.send_signal(signal.SIGKILL)
        first.wait()
        third = start("third")
        wait_until(lambda: drawn("third") > 0, third)
        third.kill()
        third.communicate()
    finally:
        first.kill()
        first.communicate()


class SmallShards(DriverRun):
    """Drivers that write every few rows, so that a small run has much to lose and to resume."""

    @property
    def command(self) -> list[str]:
        code = (
            "import json, sys\n"
            "from tests.perf.driver import DriverRun, execute\n"
            "from harness.log import store\n"
            "store.SHARD_ROWS = 48\n"
            "execute(DriverRun(**json.loads(sys.argv[1])))"
        )
        return [sys.executable, "-c", code, json.dumps(asdict(self))]


@pytest.mark.slow
def test_twenty_kills_at_random_moments_lose_nothing(tmp_path: Path) -> None:
    run = SmallShards("", "", prompts=300, budget=4, latency=0.01)
    result = kill_again_and_again(tmp_path, kills=20, run=run, seed=3)
    assert result.kills == 20 and result.candidates == 1200
    assert result.rows_equal and result.images_equal
    # Drivers were killed with work in hand, and went on from the log and not from nothing.
    assert 0 < result.repeated < 1200
