"""`bench`: the same draws in every way, round by round, and figures that follow from them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from harness.bench.measure import Stopwatch, measure
from harness.bench.sides import Measured, Ratio, Round, Side
from harness.models.sana import SanaGenerator
from harness.plan import Ask, plan
from harness.records import Request, Role
from tests.runs import stub_plan
from tests.stubs import CHAIN, Faults
from tests.terminal import STUB, Terminal

GENERATOR, JUDGE = Role.GENERATOR, Role.JUDGE


@pytest.mark.slow
def test_all_sides_make_the_same_draws(tiny_suite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, list[int]]] = []
    encoded: list[str] = []
    run, encode = SanaGenerator._run, SanaGenerator._encode_now

    def spy(self: SanaGenerator, rows: list[Request], *args: Any) -> object:
        seen.append((self.batch_size, [row.seed for row in rows]))
        return run(self, rows, *args)

    def listen(self: SanaGenerator, text: str, *args: Any) -> object:
        encoded.extend([text] if self.batch_size == 1 else [])
        return encode(self, text, *args)

    monkeypatch.setattr(SanaGenerator, "_run", spy)
    monkeypatch.setattr(SanaGenerator, "_encode_now", listen)
    ready = plan(Ask(model=str(tiny_suite), limit=3, budget=2, threads=1, batch_size=4))
    [measured] = measure([ready], rounds=1, device="cpu")
    assert set(measured.sides) == {"bare", "engine", "single"} and measured.draws == 6
    for side in measured.sides.values():
        assert side.draws == 6 and len(side.rounds) == 1
        assert set(side.rounds[0].models) == set(ready.config.specs)
        assert 0 < sum(side.rounds[0].models.values()) <= side.rounds[0].seconds
    alone = [seed for size, row in seen if size == 1 for seed in row]
    batched = {seed for size, row in seen if size == 4 for seed in row}
    # Two rounds, one to warm up; every draw alone once a round, with its prompt encoded anew.
    assert len(alone) == 12 and set(alone) == batched and len(batched) == 6
    assert len([text for text in encoded if text]) == 12
    assert measured.fill[GENERATOR] == 6 / 8


def test_draws_with_feedback_are_measured_too(suite: Path) -> None:
    ready = stub_plan(suite, strategy=CHAIN, batch_size=4)
    [measured] = measure([ready], rounds=2, device="cpu")
    assert measured.draws > 10 and len(measured.sides["engine"].rounds) == 2
    assert 0 < measured.fill[GENERATOR] <= 1


@pytest.mark.slow
def test_workers_share_the_threads(suite: Path, ray_cluster: None) -> None:
    [measured] = measure([stub_plan(suite)], rounds=1, device="cpu", workers=2)
    assert measured.sides["workers"].draws == measured.sides["engine"].draws == 40
    assert measured.sides["workers"].busy is None  # others did the work


def measured(fill: float, *rounds: tuple[float, float, float]) -> Measured:
    """Sides of which the engine's rounds are given: seconds, in the generator, in the judge."""
    engine = Side(12, tuple(Round(s, {GENERATOR: g, JUDGE: j}, s / 8) for s, g, j in rounds))
    slow = Side(
        12, tuple(Round(2 * s, {GENERATOR: 3 * g, JUDGE: 2 * j}, 0.0) for s, g, j in rounds)
    )
    sides = {"bare": engine, "engine": engine, "single": slow}
    return Measured(sides, 12, {GENERATOR: fill, JUDGE: 1.0}, 2, 0)


def test_figures_are_medians_over_rounds() -> None:
    sides = measured(1.0, (1.0, 0.5, 0.25), (4.0, 1.0, 1.0), (2.0, 1.5, 0.25)).sides
    engine, single = sides["engine"], sides["single"]
    assert engine.rate == 6.0 and engine.spread == (3.0, 12.0)
    assert engine.shares == {GENERATOR: 0.5, JUDGE: 0.25}
    assert engine.model_ms(GENERATOR) == pytest.approx(1000 / 12)
    assert engine.ratio(single) == Ratio(2.0, 2.0, 2.0) and single.ratio(engine).median == 0.5
    assert engine.role_ratio(single, GENERATOR).median == 3.0
    assert engine.busy == 0.25


def test_a_ratio_pairs_rounds_of_the_same_number() -> None:
    assert Ratio.of([2.0, 9.0, 4.0], [1.0, 3.0, 1.0]) == Ratio(3.0, 2.0, 4.0)
    assert str(Ratio(3.0, 2.0, 4.0)) == "3.00× (2.00 to 4.00)"


def test_only_what_others_do_counts_as_busy() -> None:
    with Stopwatch() as alone:
        end = time.process_time() + 0.3
        while time.process_time() < end:
            pass
    code = "import time\nwhile time.process_time() < 1: pass"
    with Stopwatch() as beside:
        subprocess.run([sys.executable, "-c", code], check=True)
    assert alone.seconds >= 0.29 and alone.busy >= 0
    assert beside.busy * beside.seconds >= 0.9


def test_runs_of_other_models_do_not_take_turns(suite: Path) -> None:
    with pytest.raises(ValueError, match="the same models"):
        measure([stub_plan(suite), stub_plan(suite, batch_size=2)], rounds=1, device="cpu")


@pytest.mark.parametrize(
    ("fill", "models", "sentence"),
    [
        (1.0, (0.3, 0.2), "limited by what is done beside the models: 50% of the engine's time"),
        (0.4, (0.7, 0.2), "limited by the generator: 70% of the engine's time, in batches that "
                          "were 40% full: the search has too few draws"),
        (0.4, (0.2, 0.7), "limited by the judge: 70% of the engine's time, in batches that were "
                          "100% full; the fullest are 2.0 times"),
    ],
)  # fmt: skip
def test_what_limits_it_is_one_sentence(
    fill: float, models: tuple[float, float], sentence: str
) -> None:
    limit = measured(fill, (1.0, *models)).limit
    assert limit.startswith(sentence) and "\n" not in limit


def test_the_command(harness: Terminal, suite: Path) -> None:
    command = ["bench", "--model", suite, "--strategy", CHAIN, "-B", "size=4", "--budget", 3,
               "--rounds", 2, "--threads", 1, "--json", "bench.json"]  # fmt: skip
    assert harness(*command, *STUB) == 0, harness.err
    for name in ("bare models, no waiting", "engine ", "one image at a time", "limited by"):
        assert name in harness.out
    [content] = json.loads(Path("bench.json").read_text())
    assert content["config"]["budget"] == 3 and content["limit"] in harness.out
    assert set(content["sides"]) == {"bare", "engine", "single"}
    assert len(content["sides"]["engine"]["rounds"]) == 2
    assert harness("bench", "--strategy", "reflekt") == 2 and "did you mean" in harness.err


@pytest.mark.slow
def test_without_a_strategy_both_regimes_take_turns(
    harness: Terminal, suite: Path, tiny_suite: Path
) -> None:
    few = ["--rounds", 1, "--limit", 2, "--threads", 1, "--device", "cpu", "--json", "both.json"]
    assert harness("bench", "--model", suite, *STUB, *few) == 0, harness.err
    contents = json.loads(Path("both.json").read_text())
    asked = {c["config"]["strategy"]["name"]: c["config"]["budget"] for c in contents}
    assert asked == {"best-of-n": 4, "reflect": 20}
    assert contents[0]["draws"] == 8 and 2 <= contents[1]["draws"] <= 40
    for content in contents:
        assert f"{content['config']['strategy']['name']}, budget" in harness.out
        for side in content["sides"].values():
            assert side["cores_busy_with_other_things"] >= 0
        assert content["times_as_fast_as_single"]["single"]["median"] == 1.0
    # Plain SANA takes no feedback.
    assert harness("bench", "--model", tiny_suite, *few, "--budget", 2, "--without-scorer") == 0
    [content] = json.loads(Path("both.json").read_text())
    assert content["config"]["budget"] == 2 and "reflect" not in harness.out
    assert set(content["sides"]["single"]["share_in_models"]) == {"generator", "judge"}
    assert harness("bench", "-S", "select=score") == 2 and "add --strategy" in harness.err


def test_a_model_that_fails_is_a_sentence(harness: Terminal, suite: Path, faults: Faults) -> None:
    faults.add("judge", "error", 0)
    assert harness("bench", "--model", suite, *STUB, "--rounds", 1) == 1
    assert "a batch of the judge failed: RuntimeError: scripted failure" in harness.err
