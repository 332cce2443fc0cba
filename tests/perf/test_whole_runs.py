"""Long runs, killed drivers and large reports: time and memory, in the tables' extra columns."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tests.made_up import make_run
from tests.perf.driver import DriverRun
from tests.perf.kills import kill_again_and_again
from tests.perf.load import measure_load
from tests.terminal import ROOT

pytestmark = [pytest.mark.perf, pytest.mark.timeout(1800)]

MEGA = 2**20


def once(benchmark: Any, work: Any, *arguments: Any, **options: Any) -> Any:
    return benchmark.pedantic(work, args=arguments, kwargs=options, rounds=1)


@pytest.mark.parametrize("scorer_latency", [None, 0.04], ids=["even", "slow scorer"])
def test_a_hundred_thousand_candidates(
    benchmark: Any, tmp_path: Path, scorer_latency: float | None
) -> None:
    candidates = 100_000 if scorer_latency is None else 10_000
    load = once(benchmark, measure_load, tmp_path / "run", candidates=candidates, latency=0.01,
                scorer_latency=scorer_latency)  # fmt: skip
    benchmark.extra_info.update(
        cpu_seconds=load.cpu_seconds,
        resume_seconds=load.resume_seconds,
        growth_mb=(load.late_bytes - load.early_bytes) / MEGA,
        peak_mb=load.peak_bytes / MEGA,
        bytes_a_row=load.log_bytes / load.candidates,
    )


def test_a_driver_killed_twenty_times(benchmark: Any, tmp_path: Path) -> None:
    run = DriverRun("", "", prompts=1500, budget=20, latency=0.01)
    kills = once(benchmark, kill_again_and_again, tmp_path, kills=20, run=run)
    benchmark.extra_info.update(asdict(kills), repeated_a_kill=kills.repeated / kills.kills)


def test_a_report_of_a_million_draws(benchmark: Any, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 553, 2048)
    command = [sys.executable, "-m", "harness", "report", str(run.path)]
    command += ["--out", str(tmp_path / "report")]

    def report() -> tuple[float, int]:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=ROOT)
        _, status, usage = os.wait4(process.pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        return usage.ru_utime + usage.ru_stime, usage.ru_maxrss

    cpu, peak = once(benchmark, report)
    benchmark.extra_info.update(cpu_seconds=cpu, peak_mb=peak / 1024)
