"""Draws that stop on their way and go on, and questions, on Ray: the same log as inline.

States go through the driver, so a continuation may fall to another worker than the one that
stopped, or to one that came after it was lost.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import harness
from harness.engine import engine, items
from harness.engine.launch import Execution
from harness.errors import Failure, Interrupted
from harness.log import store
from harness.log.run_folder import RunFolder
from harness.plan import Ask, Plan, plan
from harness.records import Role
from tests.runs import contents, run, stub_plan
from tests.stubs import HALVES, REWRITER, Faults
from tests.tiny import make_tiny_suite

pytestmark = pytest.mark.usefixtures("ray_cluster")

RAY = Execution(executor="ray", workers=2)
STEPS = {"num_inference_steps": "8"}
RENOISED = {"strategy": HALVES, "strategy_options": {"renoise": "true"}, "budget": 6}
STRATEGIES: list[dict[str, Any]] = [
    RENOISED,
    {"strategy": "bank", "budget": 3, "generator_settings": STEPS},
    {"strategy": "particle-steering", "budget": 4, "generator_settings": STEPS},
]


def costs(folder: Path) -> list[list[Any]]:
    frame = harness.load(folder).sort_values("draw_id")
    return list(frame[["draw_id", "generator_nfe", "generator_flops"]].to_numpy().tolist())


@pytest.mark.parametrize("ask", STRATEGIES, ids=lambda ask: str(ask["strategy"]).split(":")[-1])
def test_the_log_is_the_one_of_a_run_inline(
    suite: Path, tmp_path: Path, ask: dict[str, Any]
) -> None:
    ready = stub_plan(suite, **ask)
    run(ready, tmp_path / "inline")
    run(ready, tmp_path / "ray", execution=RAY)
    assert contents(tmp_path / "inline") == contents(tmp_path / "ray")
    assert costs(tmp_path / "inline") == costs(tmp_path / "ray")
    assert harness.load(tmp_path / "ray")["generator_worker"].nunique() == 2


def test_a_worker_lost_between_a_stop_and_its_continuation(
    suite: Path, tmp_path: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = stub_plan(suite, **RENOISED)
    run(ready, tmp_path / "whole")
    faults.add("generator", "kill", "once-thing 3")
    faults.add("generator", "exit", "once-thing 6")
    monkeypatch.setattr(items, "STATE_BYTES", 200)
    progress = run(ready, tmp_path / "ray", execution=RAY)
    assert progress is not None and progress.failures == {(Role.GENERATOR, Failure.KILLED): 2}
    assert not faults.left()
    assert contents(tmp_path / "whole") == contents(tmp_path / "ray")
    assert costs(tmp_path / "whole") == costs(tmp_path / "ray")


def test_a_run_stopped_on_ray_resumes_inline_and_the_other_way_round(
    suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = stub_plan(suite, **RENOISED, keep_images="selected")
    run(ready, tmp_path / "whole")
    logged: list[object] = []
    write = engine.candidate_row

    def spy(*args: Any) -> dict[str, Any]:
        logged.append(args)
        return write(*args)

    monkeypatch.setattr(engine, "candidate_row", spy)
    for first, second in ((RAY, None), (None, RAY)):
        folder = tmp_path / ("ray" if first else "inline")
        logged.clear()
        with pytest.raises(Interrupted):
            run(ready, folder, execution=first, stop=lambda: len(logged) > 20)
        frame = harness.load(folder)
        assert frame["stop"].notna().any() and len(frame) < len(contents(tmp_path / "whole")[0])
        run(ready, folder, execution=second)
        assert contents(folder) == contents(tmp_path / "whole")


def test_replies_on_ray_are_those_of_a_run_inline(
    suite: Path, tmp_path: Path, faults: Faults
) -> None:
    ready = stub_plan(suite, strategy=REWRITER, budget=5)
    run(ready, tmp_path / "inline")
    faults.add("judge", "kill", "once-say 'thing 3'")
    progress = run(ready, tmp_path / "ray", execution=RAY)
    assert progress is not None and progress.failures == {(Role.JUDGE, Failure.KILLED): 1}
    assert contents(tmp_path / "inline") == contents(tmp_path / "ray")
    columns = ["prompt_id", "question_index", "round", "text", "images", "reply", "judge_tokens"]
    tables = [
        store.read(RunFolder(tmp_path / name).log, "replies", columns).sort_by(
            [("prompt_id", "ascending"), ("question_index", "ascending")]
        )
        for name in ("inline", "ray")
    ]
    assert tables[0].equals(tables[1]) and len(tables[0]) > 10


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Nobody judges or scores: every further process takes seconds to import its libraries."""
    place = tmp_path_factory.mktemp("partial")
    (place / "prompts.txt").write_text("a dog\na cat\na bench\n")
    return plan(
        Ask(model=str(make_tiny_suite(place)), benchmark="prompt-file", judge="none",
            benchmark_options={"path": str(place / "prompts.txt")}, strategy="bank",
            strategy_options={"previews": "2,4"}, budget=2, threads=1,
            generator_settings={"num_inference_steps": "6"})
    )  # fmt: skip


def test_a_real_solver_goes_on_in_another_process_bit_for_bit(tiny: Plan, tmp_path: Path) -> None:
    run(tiny, tmp_path / "inline")
    run(tiny, tmp_path / "ray", execution=RAY)
    assert contents(tmp_path / "inline") == contents(tmp_path / "ray")
    frame = harness.load(tmp_path / "ray")
    assert frame["generator_worker"].nunique() == 2 and len(frame) == 18
