"""The Ray executor: the contract, pinning, and actors that die in every way."""

from __future__ import annotations

from pathlib import Path

import pytest
import ray

import harness
from harness.engine.executors.base import Executor, Patience
from harness.engine.executors.ray import Placement, RayExecutor
from harness.engine.jobs import Job, by_role
from harness.engine.launch import Execution
from harness.engine.worker import Setup
from harness.errors import HarnessError
from harness.log.manifest import Manifest
from harness.log.run_folder import RunFolder
from harness.plan import Plan
from harness.records import Role
from harness.runs.summary import summarise
from tests.engine.executor_contract import ExecutorContract, draws, finish
from tests.engine.mixtures import strike_at_random
from tests.runs import contents, run, stub_plan
from tests.stubs import CHAIN, Faults, make_stub_suite

pytestmark = pytest.mark.usefixtures("ray_cluster")


def make(ready: Plan, workers: int = 1) -> RayExecutor:
    placement = {role: Placement(workers) for role in ready.config.specs}
    return RayExecutor(Setup(ready.config, ready.paths), placement)


def generators(folder: Path, workers: int, gpus: float) -> RayExecutor:
    """Generators alone, each with so much of a GPU."""
    ready = stub_plan(make_stub_suite(folder)[0])
    return RayExecutor(Setup(ready.config, ready.paths), {Role.GENERATOR: Placement(workers, gpus)})


class TestRay(ExecutorContract):
    def make(self, ready: Plan) -> Executor:
        return make(ready)

    @pytest.mark.parametrize("kind", ["kill", "exit", "sysexit"])
    def test_a_dead_worker_is_replaced(self, executor: Executor, faults: Faults, kind: str) -> None:
        before = executor.describe()["deaths"].get("generator", {}).get("killed", 0)
        faults.add("generator", kind, 0)
        executor.submit(Job(1, Role.GENERATOR, draws(0)))
        executor.submit(Job(2, Role.GENERATOR, draws(1)))  # waits behind it, and is no culprit
        first, second = finish(executor, 2)
        assert first.job.id == 1 and first.crashed and "died" in (first.error or "")
        assert second.job.id == 2 and second.error is None
        assert executor.describe()["deaths"] == {"generator": {"killed": before + 1}}


def test_each_generator_has_a_gpu_of_its_own(tmp_path: Path) -> None:
    executor = generators(tmp_path, workers=3, gpus=1.0)
    try:
        executor.start()
        workers = executor.describe()["workers"]
        seen = [workers[f"generator-{n}"]["cuda_visible_devices"] for n in range(3)]
        assert len(set(seen)) == 3 and all(len(s.split(",")) == 1 and s for s in seen)
        assert [workers[f"generator-{n}"]["gpus"] for n in range(3)] == [[s] for s in seen]
    finally:
        executor.close()


def test_two_generators_can_share_a_gpu(tmp_path: Path) -> None:
    executor = generators(tmp_path, workers=3, gpus=0.5)
    holder = ray.remote(num_gpus=2)(type("Holder", (), {"ping": lambda self: None})).remote()
    ray.get(holder.ping.remote())
    try:
        executor.start()
        workers = executor.describe()["workers"]
        seen = [workers[f"generator-{n}"]["cuda_visible_devices"] for n in range(3)]
        assert sorted(seen.count(s) for s in set(seen)) == [1, 2], "three on the two that are left"
    finally:
        executor.close()
        ray.kill(holder)


def test_more_gpus_than_there_are_is_refused(tmp_path: Path) -> None:
    executor = generators(tmp_path, workers=5, gpus=1.0)
    try:
        with pytest.raises(HarnessError, match="need 5 GPUs, the cluster has 4"):
            executor.start()
    finally:
        executor.close()


@pytest.mark.parametrize("strategy", ["best-of-n", CHAIN])
def test_ray_and_inline_write_the_same_log(tmp_path: Path, strategy: str) -> None:
    ready = stub_plan(make_stub_suite(tmp_path)[0], strategy=strategy)
    run(ready, tmp_path / "inline")
    run(ready, tmp_path / "ray", execution=Execution(executor="ray", workers=2))
    assert contents(tmp_path / "inline") == contents(tmp_path / "ray")
    used = set(harness.load(tmp_path / "ray")["generator_worker"])
    assert used <= {"generator-0", "generator-1"}


def test_a_mixture_of_deaths_and_failures_is_counted_and_changes_nothing(tmp_path: Path) -> None:
    suite, faults = make_stub_suite(tmp_path)
    ready = stub_plan(suite, strategy=CHAIN)
    run(ready, tmp_path / "calm")
    failures, deaths = strike_at_random(faults, 4, deadly=True)
    patient = Patience(batch=5.0, first=10.0)
    progress = run(
        ready,
        tmp_path / "rough",
        execution=Execution(executor="ray", workers=2, patience=patient),
    )
    assert not faults.left()
    assert progress is not None and progress.failures == failures
    assert contents(tmp_path / "calm") == contents(tmp_path / "rough")
    (session,) = Manifest.read(RunFolder(tmp_path / "rough").manifest).sessions
    assert session["deaths"] == by_role(deaths.items())
    assert summarise(tmp_path / "rough").deaths == session["deaths"]


def test_a_draw_that_kills_its_worker_three_times_becomes_an_error_row(tmp_path: Path) -> None:
    suite, faults = make_stub_suite(tmp_path)
    faults.add("generator", "exit", "on-thing 3")
    ready = stub_plan(suite, budget=1)
    run(ready, tmp_path / "run", execution=Execution(executor="ray", workers=2))
    frame = harness.load(tmp_path / "run")
    failed = frame[frame["error"].notna()]
    assert len(frame) == 10 and list(failed["prompt_id"]) == ["00003"]
    assert failed["error"].str.contains("worker died").all()


def test_a_worker_that_can_never_load_ends_the_run(tmp_path: Path) -> None:
    suite, faults = make_stub_suite(tmp_path)
    ready = stub_plan(suite)
    for number in range(3):
        faults.add("load", "exit", number)
    executor = make(ready)
    try:
        with pytest.raises(HarnessError, match="died 3 times while loading"):
            executor.start()
    finally:
        executor.close()


def test_metrics_have_actors_of_their_own(tmp_path: Path) -> None:
    suite, faults = make_stub_suite(tmp_path)
    metric = f"tests.stubs:StubMetric={tmp_path / 'faults'}"
    ready = stub_plan(suite, metrics=(metric,))
    run(ready, tmp_path / "inline")
    faults.add("metric", "kill", 0)
    run(ready, tmp_path / "ray", executor=make(ready, workers=2))
    assert contents(tmp_path / "ray") == contents(tmp_path / "inline")
    frame = harness.load(tmp_path / "ray")
    assert set(frame["metric_worker"].str.partition("-")[0]) == {"metric"}
