"""What the driver does beside the models, by the second of processor time.

One thread does all of it, and what other programs on the machine take away is none of its doing.
"""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import pytest

from harness.engine.launch import Execution, work
from harness.log.run_folder import RunFolder
from harness.log.store import LogWriter
from harness.records import Role
from harness.simulate.simulation import simulate
from harness.simulate.workload import Workload
from strategies.base import Strategy
from strategies.best_of_n import BestOfN
from strategies.reflect import Reflect
from tests.fakes import FakeExecutor, fake_plan
from tests.perf.bookkeeping import log_row, open_bytes

pytestmark = [pytest.mark.perf, pytest.mark.benchmark(timer=time.thread_time, min_rounds=5)]

PROMPTS, BUDGET = 500, 20


def rate(benchmark: Any, candidates: int) -> None:
    benchmark.extra_info["candidates_per_second"] = round(candidates / benchmark.stats["median"])


@pytest.mark.parametrize("strategy", [BestOfN(), Reflect()], ids=lambda strategy: strategy.name)
def test_searches_and_dispatcher(benchmark: Any, strategy: Strategy) -> None:
    instant = dict.fromkeys((Role.GENERATOR, Role.JUDGE), 1.0)  # of virtual time
    workload = Workload(instant, dict.fromkeys(Role, 8), (0.0,) * PROMPTS)
    simulated = benchmark(simulate, workload, strategy, BUDGET, gpus=4)
    rate(benchmark, simulated.draws)


def test_whole_engine_with_log_and_images(benchmark: Any, tmp_path: Path) -> None:
    plan = fake_plan(BestOfN(), prompts=PROMPTS, budget=BUDGET)
    folders = (RunFolder(tmp_path / str(number)) for number in itertools.count())

    def run() -> None:
        executor = FakeExecutor(dict.fromkeys(Role, 0.0), workers=2)
        work(plan, Execution(), next(folders), command="perf", executor=executor)

    benchmark(run)
    rate(benchmark, PROMPTS * BUDGET)


def test_log(benchmark: Any, tmp_path: Path) -> None:
    rows = [log_row(number) for number in range(PROMPTS * BUDGET)]
    folders = (tmp_path / str(number) for number in itertools.count())

    def write() -> Path:
        folder = next(folders)
        log = LogWriter(folder)
        for row in rows:
            log.append("candidates", row)
        log.compact()
        return folder

    written = benchmark(write)
    rate(benchmark, len(rows))
    size = sum(path.stat().st_size for path in written.iterdir())
    benchmark.extra_info["bytes_a_row"] = round(size / len(rows))


@pytest.mark.parametrize("searches", [500, 4000])
def test_open_searches(benchmark: Any, searches: int) -> None:
    held = benchmark.pedantic(open_bytes, args=(searches,), rounds=1)
    benchmark.extra_info["bytes_a_search"] = round(held / searches)
