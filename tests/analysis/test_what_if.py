"""What-if: the log that a run would have left, bit for bit; or the draws that are missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.analysis.summary import summarise
from harness.analysis.what_if import what_if
from harness.errors import HarnessError, UsageError
from harness.log.schema import content
from tests.runs import contents, run, stub_plan
from tests.stubs import REWRITER, Faults
from tests.terminal import ROOT, Terminal

pytestmark = pytest.mark.usefixtures("import_stubs")

REFERENCE = ROOT / "results" / "reference"

OTHERS: list[dict[str, Any]] = [
    {"strategy": "best-of-n", "budget": 3},
    {"strategy": "best-of-n", "budget": 5, "strategy_options": {"select": "first-accepted"}},
    {"strategy": "single", "budget": 2},
]


@pytest.mark.parametrize("other", OTHERS, ids=lambda other: f"{other['strategy']}{other['budget']}")
def test_a_replay_is_the_run_it_stands_for(
    other: dict[str, Any], suite: tuple[Path, Faults], tmp_path: Path
) -> None:
    common = {"replicates": 2, "seed": 3}
    run(stub_plan(suite[0], budget=5, **common), tmp_path / "bank")
    run(stub_plan(suite[0], **other, **common), tmp_path / "real")
    result = what_if(tmp_path / "bank", other["strategy"], other.get("strategy_options"),
                     budget=other["budget"])  # fmt: skip
    for own, real in zip((result.candidates, result.searches), contents(tmp_path / "real"),
                         strict=True):  # fmt: skip
        names = [name for name in content(own).column_names if name != "run"]
        assert content(own).select(names).equals(real.select(names))
    would, did = result.summary, summarise(tmp_path / "real")
    for name in ("micro", "macro", "tags", "accepted", "agreement", "draws", "draws_per_search",
                 "searches", "searches_failed", "searches_scored", "least"):  # fmt: skip
        assert getattr(would, name) == getattr(did, name), name
    for role, cost in did.cost.items():
        for unit in ("nfe", "flops", "tokens"):
            assert would.cost[role][unit] == cost[unit]


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


def test_draws_that_the_log_lacks_are_named(suite: tuple[Path, Faults], tmp_path: Path) -> None:
    run(stub_plan(suite[0], budget=3), tmp_path / "bank")
    lacking = (
        "in 10 of 10 searches 'best-of-n' with a budget of 4 asks for draws that it lacks: "
        "draw 3 of prompt 00000, replicate 0;"
    )
    with pytest.raises(HarnessError, match=lacking):
        what_if(tmp_path / "bank", "best-of-n", budget=4)
    with pytest.raises(HarnessError, match="logged with another feedback") as caught:
        what_if(tmp_path / "bank", "reflect")
    assert "--reuse" in caught.value.hint


def test_what_no_replay_can_answer_is_refused(
    suite: tuple[Path, Faults], tmp_path: Path, harness: Terminal
) -> None:
    run(stub_plan(suite[0], budget=2), tmp_path / "bank")
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
