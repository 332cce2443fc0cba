"""Batch sizes by round: chosen for little padding, and no matter of who works when."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

import harness
from harness.analysis.tables import runs_table
from harness.audit.audit import audit
from harness.audit.audited_run import AuditedRun, Options
from harness.audit.result import Status
from harness.engine.ladder import laddered
from harness.identity import Resolver
from harness.log.manifest import Manifest
from harness.log.run_folder import RunFolder
from harness.plan import Ask, Plan, plan
from harness.records import Draw, Role, Task
from harness.registry import STRATEGIES
from harness.report.contents import results as contents_table
from harness.runs.loading import load_run
from harness.seeds import config_digest
from harness.simulate.simulation import simulate
from harness.simulate.workload import Workload
from strategies.base import Rounds, Strategy, best
from tests.runs import ShuffledExecutor, contents, run, stub_plan
from tests.stubs import CHAIN, StubGenerator

BUILT_IN = [
    ("single", {}, 1),
    ("best-of-n", {}, 20),
    ("best-of-n", {"select": "first-accepted"}, 20),
    ("reflect", {}, 20),
    ("explore-then-reflect", {}, 20),
    ("reflect-or-restart", {}, 20),
    ("reflect-beam", {}, 20),
    ("noise-search", {}, 20),
    ("draft-then-refine", {}, 20),
    ("prune", {}, 20),
    ("threshold", {}, 20),
    ("particle-steering", {}, 20),
    ("funnel", {}, 20),
]
UNSOLVED = tuple([0.02] * 6 + [0.1] * 2 + [0.4 + 0.025 * n for n in range(24)])
"""A world in which a quarter of the prompts is hardly ever solved."""


class Greedy(Strategy):
    """Asks for more than it may have."""

    name: ClassVar[str] = "greedy"

    def search(self, task: Task) -> Rounds:
        candidates = yield [Draw(index) for index in range(task.budget + 1)]
        return best(candidates)


def _plan(strategy: str, options: dict[str, str], budget: int, searches: int, size: int) -> Plan:
    ready = plan(Ask(strategy=strategy, strategy_options=options, budget=budget))
    prompts = tuple(ready.prompts[n % len(ready.prompts)] for n in range(searches))
    generator = ready.config.generator.model_copy(update={"batch_size": size})
    config = ready.config.model_copy(update={"generator": generator})
    return replace(ready, prompts=prompts, config=config)


def test_every_built_in_strategy_is_among_those_measured() -> None:
    assert {name for name, _, _ in BUILT_IN} == set(STRATEGIES.names()) - {
        "recorded",
        "rewrite",  # the miniature has no judge that replies
        "bank",  # as best-of-n: all of its trajectories begin at once
    }


@pytest.mark.sampled(5)
@pytest.mark.parametrize("size", [4, 16])
@pytest.mark.parametrize("searches", [40, 553, pytest.param(2212, marks=pytest.mark.slow)], ids=str)
@pytest.mark.parametrize("strategy, options, budget", BUILT_IN)
def test_at_most_15_rows_in_100_are_padding(
    strategy: str, options: dict[str, str], budget: int, searches: int, size: int
) -> None:
    ready = laddered(_plan(strategy, options, budget, searches, size))
    sizes = {Role.GENERATOR: size, Role.JUDGE: 8, Role.SCORER: 8}
    seconds = {Role.GENERATOR: 1.0, Role.JUDGE: 0.1, Role.SCORER: 0.1}
    acceptance = tuple(UNSOLVED[n * 7 % len(UNSOLVED)] for n in range(searches))
    workload = Workload(seconds, sizes, acceptance, batch_rows=ready.config.batch_rows)
    result = simulate(workload, ready.strategy, budget, 2)
    computed, asked = result.computed[Role.GENERATOR], result.rows[Role.GENERATOR]
    assert asked == result.draws
    assert asked <= computed <= 1.15 * asked


def test_one_size_pads_the_rounds_that_few_searches_reach() -> None:
    """The fault that the ladder is for: a sixteenth of every late batch was asked for."""
    ready = _plan("reflect", {}, 20, 40, 16)
    sizes = {Role.GENERATOR: 16, Role.JUDGE: 8, Role.SCORER: 8}
    acceptance = tuple(UNSOLVED[n * 7 % len(UNSOLVED)] for n in range(40))
    workload = Workload(dict.fromkeys(sizes, 1.0), sizes, acceptance)
    result = simulate(workload, ready.strategy, 20, 2)
    assert result.computed[Role.GENERATOR] > 2 * result.rows[Role.GENERATOR]


def test_rounds_get_smaller_sizes_and_never_larger_ones() -> None:
    assert laddered(_plan("reflect", {}, 20, 40, 16)).config.batch_rows == (4, 1)
    rows = laddered(_plan("reflect", {}, 20, 553, 16)).config.batch_rows
    assert rows[0] == 16 and list(rows) == sorted(rows, reverse=True) and rows[-1] < 16
    assert laddered(_plan("best-of-n", {}, 20, 553, 16)).config.batch_rows == ()
    assert laddered(_plan("best-of-n", {}, 4, 4, 4)).config.batch_rows == ()
    assert laddered(_plan("reflect", {}, 20, 8, 4)).config.batch_rows == (4, 1)


def test_a_generator_that_knows_one_size_only_keeps_it(
    suite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(StubGenerator, "takes_rows")
    ready = stub_plan(suite, strategy=CHAIN)
    assert laddered(ready) is ready


def test_a_costly_strategy_is_not_rehearsed(suite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ready = stub_plan(suite, strategy=CHAIN)
    assert laddered(ready).config.batch_rows
    monkeypatch.setattr(type(ready.strategy), "can_rehearse", False)
    assert laddered(ready) is ready


def test_a_strategy_that_fails_does_not_keep_the_run_from_its_own_error(suite: Path) -> None:
    ready = stub_plan(suite, strategy="tests.engine.test_ladder:Greedy")
    assert laddered(ready).config.batch_rows == ()


def _stub_ladder(suite: Path) -> Plan:
    ready = stub_plan(suite, strategy=CHAIN, budget=5)
    rows = (ready.config.generator.batch_size, 2, 1)
    return replace(ready, config=ready.config.model_copy(update={"batch_rows": rows}))


def test_logs_are_equal_in_whatever_order_batches_come_back(suite: Path, tmp_path: Path) -> None:
    ready = _stub_ladder(suite)
    run(ready, tmp_path / "one")
    for seed in range(3):
        folder = tmp_path / f"shuffled-{seed}"
        run(ready, folder, executor=ShuffledExecutor(ready, seed))
        assert contents(folder) == contents(tmp_path / "one")
    frame = harness.load(tmp_path / "one")
    assert set(frame["round"]) > {1, 2, 3}
    assert (frame.loc[frame["round"] > 2, "generator_rows"] == 1).all()
    totals = Manifest.read(tmp_path / "one" / "manifest.json").totals
    assert totals["generator_rows"] == frame["generator_rows"].sum() >= len(frame)
    assert totals["generator_padded_flops"] == 1e9 * totals["generator_rows"]
    results = runs_table([load_run(tmp_path / "one")], ["one"])
    padding = results["tflops_padded"][0] / results["tflops"][0]
    roles = list(ready.config.specs)
    flops = sum(totals[f"{role}_flops"] for role in roles)
    assert padding == pytest.approx(sum(totals[f"{r}_padded_flops"] for r in roles) / flops)
    assert padding > 1
    assert contents_table(results, []).shown["with padding"][0]


def test_the_audit_makes_draws_again_at_their_own_sizes(suite: Path, tmp_path: Path) -> None:
    run(_stub_ladder(suite), tmp_path / "run")
    options = Options(regenerate=1000, rescore=1000, plugins=True)
    results = {each.check: each for each in audit(AuditedRun(RunFolder(tmp_path / "run"), options))}
    assert results["regeneration"].outcome is Status.PASS
    # The stub judge knows what the stub scorer will say.
    assert [name for name, result in results.items() if result.failed] == ["leakage"]


def test_a_draw_is_the_same_at_the_same_number_of_rows(suite: Path) -> None:
    """So runs whose ladders differ may share the draws in which they do not."""
    ready = _stub_ladder(suite)
    laddered_id = ready.resolver.resolve(ready.prompts[0], 0, Draw(0), 2).id
    generator = ready.config.generator.model_copy(update={"batch_size": 2})
    other = ready.config.model_copy(update={"generator": generator, "batch_rows": ()})
    assert Resolver.of(other).resolve(ready.prompts[0], 0, Draw(0)).id == laddered_id
    assert ready.resolver.resolve(ready.prompts[0], 0, Draw(0), 1).id != laddered_id


def test_a_config_without_a_ladder_keeps_the_name_that_it_had(suite: Path) -> None:
    config = stub_plan(suite).config.model_dump(mode="json")
    before = {name: value for name, value in config.items() if name != "batch_rows"}
    assert config_digest(config) == config_digest(before)
    assert config_digest({**config, "batch_rows": [2, 1]}) != config_digest(before)
