"""The simulation has a loop of its own; here the engine's runs on the same virtual GPUs.

Same devices, same clock, same verdicts: whatever batches the one hands out, the other must too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

import pytest

from harness.engine import engine
from harness.engine.dispatch import Dispatcher
from harness.engine.jobs import Answer, BatchResult, Item, Job, Response
from harness.engine.scheduler import Work
from harness.records import Draw, Look, Role, Task, Verdict
from harness.seeds import digest
from harness.simulate.devices import Devices, Ran
from harness.simulate.simulation import simulate
from harness.simulate.workload import Workload
from strategies.base import Rounds, Strategy, best
from strategies.best_of_n import BestOfN
from strategies.reflect import Reflect
from tests.fakes import FakeExecutor, fake_plan
from tests.runs import run

G, J, S = Role.GENERATOR, Role.JUDGE, Role.SCORER


@dataclass(frozen=True)
class OwnSettings(Strategy):
    """Every draw has settings of its own, so that no two share a batch."""

    name: ClassVar[str] = "own-settings"

    def search(self, task: Task) -> Rounds:
        scales = [1 + (task.seed % 1000) / 1000 + index for index in range(task.budget)]
        answers = yield [Draw(i, settings={"guidance_scale": s}) for i, s in enumerate(scales)]
        return best(answers)


@dataclass
class VirtualExecutor(FakeExecutor):
    """A pretended executor on the simulation's devices; a prompt's images are all alike."""

    devices: Devices = field(kw_only=True)
    good: frozenset[str] = field(kw_only=True)
    ran: list[tuple[Role, float, float, int]] = field(default_factory=list)
    jobs: dict[int, Job] = field(default_factory=dict)

    def free(self, role: Role, *, idle: bool = True) -> int:
        return self.devices.free(role, idle=idle)

    def submit(self, job: Job) -> None:
        self.jobs[job.id] = job
        self.devices.submit([Work(job.role, job.id) for _ in job.items])

    def wait(self, timeout: float) -> Sequence[BatchResult]:
        return [self._outcome(ran) for ran in self.devices.wait()]

    def _outcome(self, ran: Ran) -> BatchResult:
        self.ran.append((ran.role, ran.start, ran.end, len(ran.batch)))
        job = self.jobs.pop(ran.batch[0].payload)
        answers = tuple(self._answer(job.role, item, 0.01) for item in job.items)
        return BatchResult(job, f"{job.role}-{ran.gpu}", answers=answers)

    def _answer(self, role: Role, item: Item, seconds: float) -> Answer:
        answer = super()._answer(role, item, seconds)
        if role is Role.JUDGE and isinstance(answer, Response) and isinstance(item, Look):
            # No complaint twice, as in the simulation: contexts drop repeated ones.
            verdict = Verdict(item.prompt.id in self.good, 0.5, f"wrong in way {item.seed}")
            return replace(answer, value=verdict)
        return answer


@pytest.mark.slow
@pytest.mark.parametrize("gpus", [1, 3])
@pytest.mark.parametrize(
    ("strategy", "seconds", "sizes"),
    [
        (BestOfN(), {G: 3.0, J: 1.0, S: 0.5}, {G: 8, J: 8, S: 8}),
        (Reflect(), {G: 3.0, J: 1.0, S: 0.5}, {G: 4, J: 8, S: 3}),
        (Reflect(), {G: 1.0, J: 4.0, S: 8.0}, {G: 8, J: 4, S: 2}),
        (BestOfN(), {G: 1.0, J: 1.0, S: 2.0}, {G: 8, J: 8, S: 1}),
        (OwnSettings(), {G: 1.0, J: 1.0, S: 0.5}, {G: 8, J: 8, S: 8}),
    ],
)
def test_the_engine_hands_out_the_same_batches_at_the_same_times(
    strategy: Strategy,
    seconds: dict[Role, float],
    sizes: dict[Role, int],
    gpus: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    budget, acceptance = 6, (0.0, 1.0, 1.0, 0.0, 1.0) * 12
    simulated: list[tuple[Role, float, float, int]] = []
    result = simulate(
        Workload(seconds, sizes, acceptance),
        strategy,
        budget,
        gpus,
        lambda ran: simulated.append((ran.role, ran.start, ran.end, len(ran.batch))),
    )

    plan = fake_plan(strategy, prompts=len(acceptance), budget=budget)
    specs = {
        str(role): getattr(plan.config, role).model_copy(update={"batch_size": size})
        for role, size in sizes.items()
    }
    plan = replace(plan, config=plan.config.model_copy(update=specs))
    # The engine takes prompts in an order of its own, the simulation in that of their numbers.
    order = sorted((prompt.id for prompt in plan.prompts), key=lambda name: digest(["order", name]))
    good = frozenset(name for name, chance in zip(order, acceptance, strict=True) if chance)
    devices = Devices(gpus, seconds, lambda batch: seconds[batch[0].role])
    monkeypatch.setattr(engine, "Dispatcher", partial(Dispatcher, clock=lambda: devices.now))
    executor = VirtualExecutor(seconds, devices=devices, good=good)
    progress = run(plan, tmp_path / "run", executor=executor)

    assert progress is not None and progress.searches_ended == result.searches
    assert executor.ran == simulated
    assert Counter(role for role, *_ in executor.ran) == Counter(result.batches)
    assert devices.now == result.makespan


def test_settings_of_their_own_cost_a_batch_each() -> None:
    """Sixteen batches of eight would do for 128 draws that are equal in their settings."""
    sizes = {G: 8, J: 8, S: 8}
    workload = Workload(dict.fromkeys(sizes, 1.0), sizes, (0.5,) * 16)
    assert simulate(workload, BestOfN(), 8, gpus=1).batches[G] == 16
    assert simulate(workload, OwnSettings(), 8, gpus=1).batches[G] == 128
