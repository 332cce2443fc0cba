"""What every executor must do. Subclass it and give `executor(plan)`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.engine.executors.base import Executor
from harness.engine.jobs import BatchResult, Drawn, Job, Png, Response
from harness.errors import HarnessError
from harness.plan import Plan
from harness.records import Look, Prompt, Request, Role, Score
from tests.runs import stub_plan
from tests.stubs import Faults, make_stub_suite
from tests.terminal import wait_until

SETTINGS = {"height": 8, "width": 8, "num_inference_steps": 2}


def draws(*numbers: int) -> tuple[Request[Png], ...]:
    return tuple(Request(f"id{n}", f"thing {n}", ((n, 1.0),), SETTINGS) for n in numbers)


def finish(executor: Executor, count: int) -> list[BatchResult]:
    results: list[BatchResult] = []

    def are_there() -> bool:
        results.extend(executor.wait(0.5))
        return len(results) >= count

    wait_until(are_there)
    return results


class ExecutorContract:
    """Jobs come back once, as values, with their answers in order."""

    def make(self, ready: Plan) -> Executor:
        raise NotImplementedError

    @pytest.fixture(scope="class")
    def place(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return tmp_path_factory.mktemp("executor")

    @pytest.fixture(scope="class")
    def faults(self, place: Path) -> Faults:
        return Faults.make(place / "faults")

    @pytest.fixture(scope="class")
    def executor(self, place: Path) -> Iterator[Executor]:
        """One for all tests, since workers take seconds to start; what a test breaks is mended."""
        executor = self.make(stub_plan(make_stub_suite(place)[0]))
        try:
            executor.start()
            yield executor
        finally:
            executor.close()

    def test_answers_are_in_the_order_of_the_items(self, executor: Executor) -> None:
        assert executor.free(Role.GENERATOR) >= 1
        executor.submit(Job(1, Role.GENERATOR, draws(3, 1, 2)))
        (outcome,) = finish(executor, 1)
        assert outcome.error is None and outcome.job.id == 1 and outcome.worker
        for number, answer in zip((3, 1, 2), outcome.answers, strict=True):
            executor.submit(Job(10 + number, Role.GENERATOR, draws(number)))
            (alone,) = finish(executor, 1)
            assert isinstance(answer, Drawn) and isinstance(alone.answers[0], Drawn)
            assert alone.answers[0].digest == answer.digest
            assert answer.cost.nfe == 4 and answer.cost.device_seconds > 0

    def test_every_role_works(self, executor: Executor) -> None:
        executor.submit(Job(1, Role.GENERATOR, draws(0)))
        (made,) = finish(executor, 1)[0].answers
        assert isinstance(made, Drawn)
        look = (Look(Prompt("0", "thing 0"), made.png),)
        executor.submit(Job(2, Role.SCORER, look))
        [outcome] = finish(executor, 1)
        (scored,) = outcome.answers
        assert isinstance(scored, Response) and isinstance(scored.value, Score)
        assert executor.describe()["workers"][outcome.worker]["memory_bytes"] > 2**20
        assert scored.value.detections

    def test_an_exception_is_an_outcome_and_the_worker_goes_on(
        self, executor: Executor, faults: Faults
    ) -> None:
        faults.add("generator", "error", 0)
        executor.submit(Job(1, Role.GENERATOR, draws(0)))
        (outcome,) = finish(executor, 1)
        assert outcome.error == "RuntimeError: scripted failure"
        assert not outcome.crashed and not outcome.answers
        executor.submit(Job(2, Role.GENERATOR, draws(0)))
        assert finish(executor, 1)[0].error is None

    def test_nothing_submitted_nothing_comes(self, executor: Executor) -> None:
        assert not executor.wait(0.0)

    def test_it_says_who_works_where(self, executor: Executor) -> None:
        described = executor.describe()
        assert described["executor"] and described["workers"]

    def test_a_model_that_cannot_be_loaded_is_one_clear_error(self, tmp_path: Path) -> None:
        suite, faults = make_stub_suite(tmp_path)
        faults.add("load", "error", 0)
        executor = self.make(stub_plan(suite))
        try:
            with pytest.raises(HarnessError, match="scripted failure"):
                executor.start()
        finally:
            executor.close()
