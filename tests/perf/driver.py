"""A driver in a process of its own, to be killed: `python -m tests.perf.driver JSON`.

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

from harness.engine.launch import Execution, work
from harness.engine.progress import Progress
from harness.log.run_folder import RunFolder
from harness.records import Role
from strategies.reflect import Reflect
from tests.fakes import FakeExecutor, fake_plan


@dataclass(frozen=True)
class DriverRun:
    """What a driver works on.

    Attributes:
        folder: The run's.
        count: File for the count.
        prompts: How many.
        budget: Draws of each.
        latency: Seconds that a fake batch takes.
    """

    folder: str
    count: str
    prompts: int
    budget: int
    latency: float

    @property
    def command(self) -> list[str]:
        """The command line of such a driver."""
        return [sys.executable, "-m", "tests.perf.driver", json.dumps(asdict(self))]


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
        """Return the count that a driver last wrote."""
        values = path.read_text(encoding="ascii").split() if path.exists() else []
        return cls(float(values[0]), int(values[1])) if len(values) == 2 else cls()


def execute(run: DriverRun) -> None:
    """Start the run, or resume it, and work until it is done."""
    descriptor = os.open(run.count, os.O_WRONLY | os.O_CREAT, 0o644)
    began, written = 0.0, -1

    def observe(progress: Progress) -> None:
        nonlocal began, written
        began = began or time.monotonic()
        if progress.draws != written:
            written = progress.draws
            # One short write: a reader sees the old count or the new one.
            os.pwrite(descriptor, f"{began:020.6f} {written:012d}".encode(), 0)

    # Feedback, and images that go once their search has ended: the most that can go wrong.
    plan = fake_plan(Reflect(), prompts=run.prompts, budget=run.budget, keep="selected")
    executor = FakeExecutor(dict.fromkeys(Role, run.latency), workers=2, accept=10**9)
    work(plan, Execution(executor="inline"), RunFolder(Path(run.folder)), command="kills",
         observe=observe, executor=executor)  # fmt: skip


if __name__ == "__main__":
    execute(DriverRun(**json.loads(sys.argv[1])))
