"""What-if: the log that a run would have left, bit for bit; or the draws that are missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.errors import HarnessError, UsageError
from harness.log.schema import content
from harness.plan import Ask, plan
from harness.runs.summary import summarise
from harness.what_if.bank import WhatIf
from tests.runs import contents, run, stub_plan
from tests.stubs import REWRITER, StubGenerator
from tests.terminal import ROOT, Terminal
from tests.what_if.replays import what_if

pytestmark = pytest.mark.usefixtures("import_stubs")

REFERENCE = ROOT / "results" / "reference"

OTHERS: list[dict[str, Any]] = [
    {"strategy": "best-of-n", "budget": 3},
    {"strategy": "best-of-n", "budget": 5, "strategy_options": {"select": "first-accepted"}},
    {"strategy": "single", "budget": 2},
]


@pytest.mark.parametrize("other", OTHERS, ids=lambda other: f"{other['strategy']}{other['budget']}")
def test_a_replay_is_the_run_it_stands_for(
    other: dict[str, Any], suite: Path, tmp_path: Path
) -> None:
    common = {"replicates": 2, "seed": 3}
    run(stub_plan(suite, budget=5, **common), tmp_path / "bank")
    run(stub_plan(suite, **other, **common), tmp_path / "real")
    result = what_if(tmp_path / "bank", other["strategy"], other.get("strategy_options"),
                     budget=other["budget"])  # fmt: skip
    assert_same(result, tmp_path / "real")


def assert_same(result: WhatIf, real: Path) -> None:
    """See that a replay is what a run has logged: rows, numbers, and what was spent."""
    for own, other in zip((result.candidates, result.searches), contents(real), strict=True):
        names = [name for name in content(own).column_names if name != "run"]
        assert content(own).select(names).equals(other.select(names))
    would, did = result.summary, summarise(real)
    for name in ("micro", "macro", "tags", "accepted", "agreement", "draws", "draws_per_search",
                 "searches", "searches_failed", "searches_scored", "least"):  # fmt: skip
        assert getattr(would, name) == getattr(did, name), name
    for role, cost in did.cost.items():
        for unit in ("nfe", "flops", "tokens"):
            assert would.cost[role][unit] == cost[unit], (role, unit)


STEPS = {"num_inference_steps": "8"}
BANK: dict[str, Any] = {"strategy": "bank", "budget": 12, "seed": 3, "generator_settings": STEPS}
PARTIAL: list[dict[str, Any]] = [
    *({**other, "strategy_options": other.get("strategy_options", {})} for other in OTHERS),
    {"strategy": "bank", "budget": 5, "strategy_options": {"previews": "4"}},
    {"strategy": "prune", "budget": 3, "strategy_options": {}},
    {"strategy": "prune", "budget": 7, "strategy_options": {"schedule": "0.5:0.3"}},
    {"strategy": "threshold", "budget": 2, "strategy_options": {"bar": "0.3"}},
    {"strategy": "threshold", "budget": 3,
     "strategy_options": {"bar": "0.6", "looks": "0.5", "at_once": "2"}},
]  # fmt: skip


PIPELINE: list[dict[str, Any]] = [
    {"strategy": "prune", "budget": 2, "strategy_options": {}},
    {"strategy": "threshold", "budget": 1, "strategy_options": {"bar": "0.3"}},
]


@pytest.mark.sampled(2)
@pytest.mark.usefixtures("steady")
@pytest.mark.parametrize(
    "other", PARTIAL, ids=lambda other: f"{other['strategy']}{other['budget']}"
)
def test_a_bank_of_trajectories_answers_what_looks_at_its_previews(
    other: dict[str, Any], suite: Path, tmp_path: Path
) -> None:
    run(stub_plan(suite, **BANK), tmp_path / "bank")
    run(stub_plan(suite, **{**BANK, **other}), tmp_path / "real")
    result = what_if(
        tmp_path / "bank", other["strategy"], other["strategy_options"], budget=other["budget"]
    )
    assert_same(result, tmp_path / "real")


def test_flops_that_no_class_computes_are_unknown(
    suite: Path, steady: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(stub_plan(suite, **BANK), tmp_path / "bank")
    monkeypatch.setattr(StubGenerator, "expected_cost", lambda loading: None)
    cost = what_if(tmp_path / "bank", "best-of-n", budget=2).summary.cost["generator"]
    assert cost["flops"] is None and cost["nfe"] == 10 * 2 * 8 * 2
    cost = what_if(tmp_path / "bank", "bank").summary.cost["generator"]
    assert cost["flops"] == 10 * 12 * (8 * 5e8 + 3 * steady)  # in the very parts of the log


def test_a_judge_that_samples_answers_for_its_own_draws_alone(suite: Path, tmp_path: Path) -> None:
    run(stub_plan(suite, **BANK), tmp_path / "bank")
    assert what_if(tmp_path / "bank", "bank", budget=3).summary.draws == 10 * 3 * 3
    with pytest.raises(UsageError, match="judge's sampling is seeded"):
        what_if(tmp_path / "bank", "best-of-n", budget=3)
    assert what_if(tmp_path / "bank", "best-of-n", budget=3, judge="oracle").summary.draws == 30


@pytest.mark.usefixtures("steady")
def test_what_a_bank_cannot_answer(suite: Path, tmp_path: Path) -> None:
    path = tmp_path / "bank"
    run(stub_plan(suite, **{**BANK, "budget": 4}), path)
    with pytest.raises(HarnessError, match=r"draw 0 of .* \(up to step 6\)"):
        what_if(path, "prune", {"schedule": "0.75:0.5"}, budget=2)
    with pytest.raises(HarnessError, match=r"draw 4 of"):
        what_if(path, "prune", budget=3)
    with pytest.raises(UsageError, match="takes trajectories back in noise"):
        what_if(path, "particle-steering", {"begin": "0.25", "end": "0.5", "every": "0.25",
                                            "adaptive": "false"})  # fmt: skip
    with pytest.raises(HarnessError, match="with noise near another"):
        what_if(path, "noise-search", {"first": "2"})


@pytest.mark.slow
@pytest.mark.usefixtures("steady")
def test_a_metric_that_was_logged_judges_as_if_it_had_been_asked(
    suite: Path, tmp_path: Path, harness: Terminal
) -> None:
    name = "tests.stubs:StubMetric"
    metrics = {"metrics": (f"{name}={tmp_path / 'faults'}",)}
    run(stub_plan(suite, **BANK, **metrics), tmp_path / "bank")
    judge = {"judge": f"metric={name}", "judge_settings": {"accept": "8.0"}}
    for strategy, options in (("prune", {}), ("best-of-n", {"select": "first-accepted"})):
        ask = {**BANK, "strategy": strategy, "strategy_options": options, "budget": 4}
        real = {**judge, "judge": f"metric={name}={tmp_path / 'faults'}"}
        run(stub_plan(suite, **ask, **metrics, **real), tmp_path / strategy)
        assert_same(
            what_if(tmp_path / "bank", strategy, options, budget=4, **judge),  # type: ignore[arg-type]
            tmp_path / strategy,
        )
    with pytest.raises(UsageError, match="is not in its log"):
        what_if(tmp_path / "bank", "single", judge="metric=tests.stubs:OtherMetric")
    run(stub_plan(suite, **BANK), tmp_path / "later")
    assert harness("score", tmp_path / "later", "--metrics", metrics["metrics"][0]) == 0
    ask = {"strategy": "prune", "budget": 4, **judge}
    one, other = (what_if(tmp_path / name, **ask) for name in ("bank", "later"))
    assert one.searches.drop("run").equals(other.searches.drop("run"))
    spent = one.summary.cost["judge"]["flops"]
    assert spent and other.summary.cost["judge"]["flops"] == spent


def test_the_oracle_judges_as_if_it_had_been_asked(suite: Path, tmp_path: Path) -> None:
    run(stub_plan(suite, budget=4), tmp_path / "bank")
    run(stub_plan(suite, budget=3, judge="oracle"), tmp_path / "real")
    result = what_if(tmp_path / "bank", "best-of-n", budget=3, judge="oracle")
    assert result.manifest.config["oracle"] is True
    assert_same(result, tmp_path / "real")


@pytest.mark.slow
@pytest.mark.parametrize("other", PIPELINE, ids=lambda other: other["strategy"])
def test_a_bank_of_a_real_pipeline_answers_bit_for_bit(
    other: dict[str, Any], tiny_suite: Path, tmp_path: Path
) -> None:
    common: dict[str, Any] = {
        "model": str(tiny_suite), "tags": ("two_object",), "limit": 2, "threads": 1,
        "generator_settings": STEPS,
    }  # fmt: skip
    run(plan(Ask(strategy="bank", budget=4, **common)), tmp_path / "bank")
    run(plan(Ask(**other, **common)), tmp_path / "real")
    result = what_if(
        tmp_path / "bank", other["strategy"], other["strategy_options"], budget=other["budget"]
    )
    assert_same(result, tmp_path / "real")


@pytest.mark.slow
@pytest.mark.skipif(not REFERENCE.is_dir(), reason="no reference runs are committed")
def test_a_replay_of_a_reference_run_is_another_reference_run() -> None:
    result = what_if(REFERENCE / "best-of-n-0", "best-of-n", {"select": "first-accepted"})
    for own, real in zip(
        (result.candidates, result.searches),
        contents(REFERENCE / "best-of-n-first-accepted-0"),
        strict=True,
    ):
        names = [name for name in content(own).column_names if name != "run"]
        assert content(own).select(names).equals(real.select(names))


def test_draws_that_the_log_lacks_are_named(suite: Path, tmp_path: Path) -> None:
    run(stub_plan(suite, budget=3), tmp_path / "bank")
    message = (
        "in 10 of 10 searches 'best-of-n' with a budget of 4 asks for draws that it lacks: "
        "draw 3 of prompt 00000, replicate 0;"
    )
    with pytest.raises(HarnessError, match=message):
        what_if(tmp_path / "bank", "best-of-n", budget=4)
    with pytest.raises(HarnessError, match=r"draw 1 .*\(with feedback\)") as caught:
        what_if(tmp_path / "bank", "reflect")
    assert "--reuse" in caught.value.hint


def test_what_no_replay_can_answer_is_refused(
    suite: Path, tmp_path: Path, harness: Terminal
) -> None:
    run(stub_plan(suite, budget=2), tmp_path / "bank")
    with pytest.raises(UsageError, match="unknown strategy"):
        what_if(tmp_path / "bank", "best-of-m")
    path = tmp_path / "bank"
    with pytest.raises(UsageError, match="asks the judge questions"):
        what_if(path, REWRITER)
    assert harness("what-if", path, "--strategy", "single", "--plugins") == 0
    assert "single · budget 2" in harness.out and f"from the draws of {path}" in harness.out
    assert harness("what-if", path, "--strategy", "best-of-n", "--budget", 9, "--plugins") == 1
    assert "draw 2 of prompt 00000" in harness.err and "hint: " in harness.err
    assert harness("what-if", path, "--strategy", "best-of-n", "-S", "select=worst") == 2
