"""A driver in a process of its own, to be killed: `python -m harness.bench.driver JSON`.

It starts or resumes a run as the command line does, and keeps a count in a file of how many
candidates it has drawn, which outlives it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.bench.pretend import PretendedExecutor, pretended_plan
from harness.engine.executors.base import Executor
from harness.engine.launch import Execution, work
from harness.engine.progress import Progress
from harness.log.run_folder import RunFolder
from harness.plan import Plan
from harness.records import Role
from strategies.reflect import Reflect


@dataclass(frozen=True)
class Orders:
    """What a driver is to do.

    Attributes:
        run: The run's folder.
        count: File for the count.
        prompts: How many.
        budget: Draws of each.
        latency: Seconds that a pretended batch takes.
        model: Suite of real models; "" for pretended ones.
        threads: CPU threads of real models.
    """

    run: str
    count: str
    prompts: int
    budget: int
    latency: float
    model: str = ""
    threads: int = 2

    @property
    def command(self) -> list[str]:
        """The command line of such a driver."""
        return [sys.executable, "-m", "harness.bench.driver", json.dumps(asdict(self))]


@dataclass(frozen=True)
class Count:
    """How far a driver came.

    Attributes:
        began: When its loop began, by this machine's monotonic clock; 0 before.
        drawn: Candidates it has drawn.
    """

    began: float = 0.0
    drawn: int = 0

    @classmethod
    def read(cls, path: Path) -> Count:
        """What a driver last said."""
        words = path.read_text(encoding="ascii").split() if path.exists() else []
        return cls(float(words[0]), int(words[1])) if len(words) == 2 else cls()


def drive(orders: Orders) -> None:
    """Start the run, or resume it, and work until it is done."""
    descriptor = os.open(orders.count, os.O_WRONLY | os.O_CREAT, 0o644)
    began, said = 0.0, -1

    def observe(progress: Progress) -> None:
        nonlocal began, said
        began = began or time.monotonic()
        if progress.draws != said:
            said = progress.draws
            # One short write: a reader sees the old count or the new one.
            os.pwrite(descriptor, f"{began:020.6f} {said:012d}".encode(), 0)

    plan, executor = _work(orders)
    work(plan, Execution(executor="inline"), RunFolder(Path(orders.run)), command="bench faults",
         observe=observe, executor=executor)  # fmt: skip


def _work(orders: Orders) -> tuple[Plan, Executor | None]:
    if not orders.model:
        # Feedback and images that go once their search has ended: the most that can go wrong.
        plan = pretended_plan(
            Reflect(), prompts=orders.prompts, budget=orders.budget, keep="selected"
        )
        return plan, PretendedExecutor(dict.fromkeys(Role, orders.latency), workers=2, accept=10**9)
    from harness.plan import Ask
    from harness.plan import plan as make

    ask = Ask(model=orders.model, limit=orders.prompts, budget=orders.budget,
              threads=orders.threads, keep_images="selected")  # fmt: skip
    return make(ask), None


if __name__ == "__main__":
    drive(Orders(**json.loads(sys.argv[1])))
