from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from harness.bench.driver import Count, Orders
from harness.bench.faults import measure_faults
from harness.errors import HarnessError
from harness.log.run_folder import RunFolder
from tests.terminal import Terminal

SMALL = Orders("", "", prompts=60, budget=4, latency=0.002)


def test_a_killed_driver_loses_nothing(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    found = measure_faults(
        tmp_path, kills=2, orders=SMALL, seed=1, observe=lambda *count: seen.append(count)
    )
    assert found.rows_equal and found.images_equal
    assert 1 <= found.kills <= 2 and found.candidates == 240
    assert 0 <= found.repeated < 2 * 240 and seen[-1] == (4, 4)
    assert 0 < found.starting_seconds < found.seconds
    kept = {path.stem for path in RunFolder(tmp_path / "disturbed").images.glob("*/*")}
    assert len(kept) == 60, "of every search, what it selected"


def test_a_driver_that_fails_by_itself_is_no_kill(tmp_path: Path) -> None:
    (tmp_path / "whole").write_text("a file where the run should be")
    with pytest.raises(HarnessError, match="failed by itself"):
        measure_faults(tmp_path, kills=1, orders=SMALL)


def test_the_second_driver_is_refused_and_a_dead_one_blocks_nobody(tmp_path: Path) -> None:
    orders = replace(SMALL, run=str(tmp_path / "run"), prompts=5000, latency=0.05)

    def start(name: str) -> subprocess.Popen[str]:
        command = replace(orders, count=str(tmp_path / name)).command
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    def working(name: str, process: subprocess.Popen[str], beyond: int = 0) -> None:
        while Count.read(tmp_path / name).drawn <= beyond:
            assert process.poll() is None
            time.sleep(0.01)

    first = start("first")
    try:
        working("first", first)
        before = Count.read(tmp_path / "first").drawn
        second = start("second")
        _, said = second.communicate(timeout=60)
        assert second.returncode and f"another process (pid {first.pid}) is writing" in said
        assert not Count.read(tmp_path / "second").drawn
        working("first", first, beyond=before)  # it goes on undisturbed
        first.send_signal(signal.SIGKILL)
        first.wait()
        third = start("third")
        working("third", third)
        third.kill()
        third.communicate()
    finally:
        first.kill()
        first.communicate()


def test_bench_faults(harness: Terminal) -> None:
    command = ["bench", "faults", "--kills", 2, "--prompts", 40, "--budget", 4, "--latency", 0]
    assert harness(*command) == 0
    assert (
        re.match("[12] kills of the driver", harness.out)
        and "equal to the undisturbed" in harness.out
    )
    assert re.search(r"repeated +\d+ candidates", harness.out)


class SmallShards(Orders):
    """Drivers that write every few rows, so that a small run has much to lose and to resume."""

    @property
    def command(self) -> list[str]:
        code = (
            "import json, sys\n"
            "from harness.bench.driver import Orders, drive\n"
            "from harness.log.store import LogWriter\n"
            "LogWriter.__init__.__kwdefaults__['shard_rows'] = 48\n"
            "drive(Orders(**json.loads(sys.argv[1])))"
        )
        return [sys.executable, "-c", code, json.dumps(asdict(self))]


@pytest.mark.slow
def test_twenty_kills_at_random_moments_lose_nothing(tmp_path: Path) -> None:
    orders = SmallShards("", "", prompts=300, budget=4, latency=0.01)
    found = measure_faults(tmp_path, kills=20, orders=orders, seed=3)
    assert found.kills == 20 and found.candidates == 1200
    assert found.rows_equal and found.images_equal
    # Drivers were killed with work in hand, and went on from the log and not from nothing.
    assert 0 < found.repeated < 1200
