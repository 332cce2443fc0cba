"""The simulation: nothing made up, nothing lost, no GPU at two things at once."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import Interrupted, UsageError
from harness.log import store
from harness.log.run_folder import RunFolder
from harness.records import Role
from harness.simulate.devices import Ran
from harness.simulate.simulation import Simulated, simulate, static_split
from harness.simulate.workload import Workload, logged_workload
from strategies.base import Strategy
from strategies.best_of_n import BestOfN
from strategies.reflect import Reflect
from tests.fakes import FakeExecutor, fake_plan
from tests.runs import run, stub_plan
from tests.stubs import make_stub_suite
from tests.terminal import Terminal

G, J, S = Role.GENERATOR, Role.JUDGE, Role.SCORER

chances = st.sampled_from([0.0, 0.3, 0.9, 1.0])
times = st.sampled_from([0.25, 0.5, 1.0, 3.0])


@st.composite
def workloads(draw: st.DrawFn) -> Workload:
    roles = draw(st.sampled_from([(G,), (G, J), (G, S), (G, J, S)]))
    return Workload(
        seconds={role: draw(times) for role in roles},
        batch_sizes={role: draw(st.integers(1, 5)) for role in Role},
        acceptance=tuple(draw(st.lists(chances, min_size=1, max_size=12))),
        alone=draw(st.sampled_from([0.2, 1.0])),
        replicates=draw(st.integers(1, 2)),
        seed=draw(st.integers(0, 3)),
    )


searches = st.sampled_from([Reflect(), BestOfN(), BestOfN(select="first-accepted")])


@settings(max_examples=60, deadline=None)
@given(workloads(), searches, st.integers(1, 6), st.integers(1, 9))
def test_invariants(workload: Workload, strategy: Strategy, budget: int, gpus: int) -> None:
    ran: list[Ran] = []
    result = simulate(workload, strategy, budget, gpus, ran.append)

    by_gpu: defaultdict[int, list[Ran]] = defaultdict(list)
    for one in ran:
        by_gpu[one.gpu].append(one)
    assert set(by_gpu) <= set(range(gpus))
    for batches in by_gpu.values():
        batches.sort(key=lambda one: one.start)
        for before, after in itertools.pairwise(batches):
            assert before.end <= after.start, "one GPU at two batches at once"

    works = [(one.role, id(work.payload)) for one in ran for work in one.batch]
    assert len(works) == len(set(works)), "a row was run twice"
    assert result.searches == len(workload.acceptance) * workload.replicates
    for role in workload.seconds:
        assert result.rows[role] == result.draws, "every draw is made, judged and scored once"
    assert result.busy == pytest.approx(sum(one.end - one.start for one in ran))
    assert result.makespan >= result.busy / gpus - 1e-9
    assert 0 < result.useful <= result.busy + 1e-9
    assert 0 < result.utilisation <= 1 + 1e-9
    assert result.tail_waste >= -1e-6


@settings(max_examples=30, deadline=None)
@given(workloads(), searches, st.integers(1, 6))
def test_one_gpu_is_never_idle(workload: Workload, strategy: Strategy, budget: int) -> None:
    result = simulate(workload, strategy, budget, 1)
    serial = sum(result.batches[role] * took for role, took in workload.seconds.items())
    assert result.makespan == pytest.approx(serial) == pytest.approx(result.busy)


@settings(max_examples=30, deadline=None)
@given(workloads(), searches, st.integers(1, 6), st.integers(1, 9))
def test_the_work_hangs_on_the_seed_alone(
    workload: Workload, strategy: Strategy, budget: int, gpus: int
) -> None:
    once = simulate(workload, strategy, budget, gpus)
    assert simulate(workload, strategy, budget, gpus) == once
    alone = simulate(workload, strategy, budget, 1)
    split = static_split(workload, strategy, budget, gpus)
    assert once.draws == alone.draws == split.draws
    assert split.useful == pytest.approx(simulate(workload.resized(1), strategy, budget, 1).busy)


def uniform(prompts: int, replicates: int = 1, size: int = 1, accept: float = 0.0) -> Workload:
    return Workload(
        {G: 2.0, J: 1.0}, dict.fromkeys(Role, size), (accept,) * prompts, 0.25, replicates
    )


def test_figures_that_can_be_worked_out_by_hand() -> None:
    # Three chains of two draws on one GPU, one row a batch: six times 2 + 1 seconds.
    assert simulate(uniform(3), Reflect(), 2, 1).makespan == 18.0
    # A GPU each: nobody waits for anybody.
    assert simulate(uniform(3), Reflect(), 2, 3).makespan == 6.0
    # Everything accepted at once: a batch of four, judged as one.
    assert simulate(uniform(4, size=4, accept=1.0), Reflect(), 9, 1).makespan == 3.0
    # Half of a batch is padding.
    result = simulate(uniform(2, size=4, accept=1.0), Reflect(), 9, 1)
    assert (result.makespan, result.useful, result.fill) == (3.0, 1.5, 0.5)
    # Two processes, three prompts: one has two, the other waits.
    split = static_split(uniform(3), Reflect(), 2, 2)
    assert (split.makespan, split.utilisation) == (12.0, 0.75)


@pytest.mark.slow
def test_gpus_are_busy_until_the_tail() -> None:
    work = Workload(
        {G: 3.0, J: 1.0, S: 0.5}, dict.fromkeys(Role, 4), (0.1, 0.5, 0.9) * 200, 0.25, 2
    )
    for gpus in (1, 4, 8):
        before = simulate(work, Reflect(), 20, gpus).utilisation_before_tail
        assert before is not None and before >= 0.95


def test_a_place_that_falls_free_is_taken_at_once() -> None:
    # Searches of very different length: a static split leaves GPUs idle, the dispatcher none.
    work = Workload({G: 1.0}, {G: 1}, (0.0, 1.0, 1.0, 1.0) * 25)
    ours = simulate(work, Reflect(), 20, 4)
    assert ours.draws == 25 * 20 + 75
    assert ours.utilisation > 0.9
    assert static_split(work, Reflect(), 20, 4).utilisation < 0.5


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(UsageError, match="more than 0 seconds"):
        Workload({G: 0.0}, {G: 1}, (0.5,))
    with pytest.raises(UsageError, match="at least one row"):
        Workload({G: 1.0}, {G: 0}, (0.5,))
    with pytest.raises(UsageError, match="between 0 and 1"):
        Workload({G: 1.0}, {G: 1}, (1.5,))


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulate")
    run(stub_plan(make_stub_suite(folder)[0], budget=4), folder / "run")
    return folder / "run"


def test_smaller_batches_take_less_in_a_straight_line() -> None:
    work = Workload({G: 8.0, J: 2.0}, {G: 5, J: 1}, (0.5,), alone=0.25)
    assert work.resized(5) == work == work.resized(99)
    assert work.resized(1).seconds == {G: 2.0, J: 2.0}
    assert work.resized(3).seconds[G] == 5.0 and work.resized(3).batch_sizes == {G: 3, J: 1}


def test_a_log_gives_times_sizes_and_acceptance(logged: Path) -> None:
    import harness as package

    result = logged_workload(logged)
    frame = package.load(logged)
    assert result["batch_sizes"] == dict.fromkeys((G, J, S), 4)
    batches = frame.groupby("generator_batch")["generator_device_seconds"].sum()
    assert result["seconds"][G] == pytest.approx(batches.median())
    mean = frame["accepted"].mean()
    first = frame[frame["prompt_id"] == "00000"]["accepted"]
    assert result["acceptance"][0] == pytest.approx((first.sum() + mean) / 5)
    assert len(result["acceptance"]) == 10


def test_a_resumed_run_gives_the_same_sizes_and_times(tmp_path: Path) -> None:
    # Jobs are numbered anew by whoever goes on with a run, so numbers come again.
    ready = fake_plan(BestOfN(), prompts=60, budget=4)
    sessions = itertools.count(1)

    def session(stop: Callable[[], bool]) -> None:
        executor = FakeExecutor(dict.fromkeys(Role, 0.005 * next(sessions)))
        run(ready, tmp_path / "run", executor=executor, stop=stop)

    steps = itertools.count()
    with pytest.raises(Interrupted):
        session(lambda: next(steps) > 8)
    session(lambda: False)
    rows = store.read(RunFolder(tmp_path / "run").log, "candidates")
    batches = zip(*(rows[f"generator_{c}"].to_pylist() for c in ("worker", "batch")), strict=True)
    assert max(Counter(batches).values()) > 8, "no number came again"
    result = logged_workload(tmp_path / "run")
    assert result["batch_sizes"] == dict.fromkeys((G, J, S), 8)
    for took in result["seconds"].values():
        assert took in (pytest.approx(0.005), pytest.approx(0.01))


def test_the_batch_size_is_the_configs_even_if_no_batch_was_full(tmp_path: Path) -> None:
    ready = fake_plan(BestOfN(), prompts=1, budget=3)
    run(ready, tmp_path / "run", executor=FakeExecutor(dict.fromkeys(Role, 0.001)))
    result = logged_workload(tmp_path / "run")
    assert result["batch_sizes"] == dict.fromkeys((G, J, S), 8)
    assert result["seconds"][G] == pytest.approx(0.001)


def test_simulate_from_a_run(harness: Terminal, logged: Path) -> None:
    assert harness("simulate", "--from", logged, "--gpus", 3, "--prompts", 20, "--budget", 3) == 0
    assert [line.split()[0] for line in harness.out.splitlines()[3:10]] == [
        "1", "3", "4", "16", "64", "256", "1024",
    ]  # fmt: skip
    assert f"from {logged}" in harness.out and "ASSUMED" not in harness.out
    assert "on 3: " in harness.out


def test_simulate_says_what_is_assumed_and_refuses_nonsense(harness: Terminal) -> None:
    few = ["simulate", "--prompts", 5, "--replicates", 1, "--gpus", 2, "--budget", 2]
    assert harness(*few) == 0 and "ASSUMED" in harness.out
    assert harness(*few, "--price", 2, "--batch-size", 1, "--seconds", "judge=0") == 0
    assert "judge" not in harness.out
    assert harness(*few, "--seconds", "jugde=1") == 2 and "did you mean 'judge'" in harness.err
    assert harness(*few, "--batch", "judge=1.5") == 2
    assert harness(*few, "--seconds", "judge=soon") == 2
    assert harness(*few, "--seconds", "judge=-1") == 2
    assert harness(*few, "--from", "nowhere") == 2


def test_an_empty_simulation_has_no_utilisation() -> None:
    assert Simulated(4).utilisation == 0.0 and Simulated(4).utilisation_before_tail is None
