"""Draws that stop on their way and go on: the same log whatever is lost in between."""

from __future__ import annotations

from pathlib import Path

import pytest

import harness
from harness.engine import items
from harness.engine.worker import Worker
from harness.errors import UsageError
from harness.models.base import Generator
from harness.records import Ability, Request
from harness.testing import GeneratorContract
from tests.runs import ShuffledExecutor, contents, run, run_in_parts, stub_plan
from tests.stubs import HALVES, Faults, StubGenerator

RENOISED = {"strategy": HALVES, "strategy_options": {"renoise": "true"}, "budget": 6}


class TestTheStub(GeneratorContract):
    """The contract's tests can be passed, and by whom is known."""

    @pytest.fixture(scope="class")
    def generator(self) -> Generator:
        return StubGenerator(None, batch_size=4)

    @pytest.fixture(scope="class")
    def requests(self) -> list[Request]:
        settings = {"height": 8, "width": 8, "num_inference_steps": 5}
        return [Request(f"id{n}", f"thing {n}", ((n, 1.0),), settings) for n in range(4)]

    test_an_unknown_setting_is_refused = None  # type: ignore[assignment]
    test_mixed_settings_are_refused = None  # type: ignore[assignment]
    test_a_batch_is_padded_to_the_rows_that_its_requests_name = None  # type: ignore[assignment]


def test_previews_and_ends_are_candidates_that_cost_their_share(
    suite: Path, tmp_path: Path
) -> None:
    run(stub_plan(suite, strategy=HALVES), tmp_path / "run")
    frame = harness.load(tmp_path / "run")
    previews, ends = frame[frame["stop"].notna()], frame[frame["start"].notna()]
    assert len(previews) == 10 * 4 and len(ends) == 10 * 2
    assert (previews["generator_nfe"] == 2).all() and (ends["generator_nfe"] == 2).all()
    assert frame["judge_score"].notna().all() and frame["correct"].notna().all()
    by_id = frame.set_index("draw_id")
    for start in ends["start"]:
        assert by_id.loc[start["draw_id"], "stop"] == 1 and start["renoise"] is None
    # A draw that went on is the draw that never stopped.
    run(stub_plan(suite, strategy="best-of-n"), tmp_path / "whole")
    whole = harness.load(tmp_path / "whole").set_index(["prompt_id", "seed"])
    for _, end in ends.iterrows():
        seed = by_id.loc[end["start"]["draw_id"], "seed"]
        assert whole.loc[(end["prompt_id"], seed), "image"] == end["image"]


@pytest.mark.parametrize("ask", [{"strategy": HALVES}, RENOISED])
def test_the_order_of_answers_does_not_matter(suite: Path, tmp_path: Path, ask: dict) -> None:  # type: ignore[type-arg]
    ready = stub_plan(suite, **ask)
    run(ready, tmp_path / "inline")
    run(ready, tmp_path / "shuffled", executor=ShuffledExecutor(ready, seed=2))
    assert contents(tmp_path / "inline") == contents(tmp_path / "shuffled")


@pytest.mark.parametrize("state_bytes", [0, 200])
def test_lost_states_are_made_again(
    suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state_bytes: int
) -> None:
    ready = stub_plan(suite, **RENOISED)
    run(ready, tmp_path / "whole")
    made: list[int] = []
    generate = StubGenerator.generate

    def spy(self: StubGenerator, requests: list[Request]) -> object:
        made.append(len(requests))
        return generate(self, requests)

    monkeypatch.setattr(StubGenerator, "generate", spy)
    monkeypatch.setattr(items, "STATE_BYTES", state_bytes)
    run(ready, tmp_path / "forgetful")
    assert contents(tmp_path / "whole") == contents(tmp_path / "forgetful")
    costs = ["generator_nfe", "generator_flops"]
    frames = [
        harness.load(tmp_path / name).sort_values("draw_id")[costs].reset_index(drop=True)
        for name in ("whole", "forgetful")
    ]
    assert frames[0].equals(frames[1])
    assert sum(made) > len(frames[0])


def test_a_run_stopped_anywhere_resumes_to_the_same_log(suite: Path, tmp_path: Path) -> None:
    ready = stub_plan(suite, **RENOISED, keep_images="selected")
    run(ready, tmp_path / "whole")
    assert run_in_parts(ready, tmp_path / "parts", 7) > 3
    assert contents(tmp_path / "whole") == contents(tmp_path / "parts")


def test_a_state_is_made_again_with_its_own_feedback_and_start(tmp_path: Path) -> None:
    """A chain of lost states is made again from its beginning, in the worker."""
    worker = Worker.__new__(Worker)
    worker.model = StubGenerator(None, batch_size=4)
    worker._rows, worker._shape = 4, lambda request: (request.first, request.stop)
    settings = {"height": 8, "width": 8, "num_inference_steps": 5}
    first = Request("a", "thing", ((1, 1.0),), settings, stop=2)
    second = Request("b", "thing", ((2, 1.0),), settings, start=first, stop=3)
    last = Request("c", "thing", ((3, 1.0),), settings, start=second)
    (whole,) = worker.model.generate([Request("d", "thing", ((1, 1.0),), settings)])
    (end,) = worker.model.generate(worker._with_states([last]))
    assert (end.image == whole.image).all()


def test_a_generator_without_the_ability_is_refused(
    suite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StubGenerator, "abilities", frozenset({Ability.FEEDBACK}))
    with pytest.raises(UsageError, match="stops draws before their last step"):
        stub_plan(suite, strategy=HALVES)


def test_a_worker_that_dies_between_a_stop_and_its_continuation_changes_nothing(
    suite: Path, tmp_path: Path, faults: Faults
) -> None:
    ready = stub_plan(suite, **RENOISED)
    run(ready, tmp_path / "whole")
    for number in range(4):
        faults.add("generator", "error", number)
    run(ready, tmp_path / "failing")
    assert contents(tmp_path / "whole") == contents(tmp_path / "failing")
