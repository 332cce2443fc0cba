"""A strategy's questions: answered by the judge, logged, replayed, and paid for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import harness
from harness.engine.executors.inline import InlineExecutor
from harness.engine.jobs import Job
from harness.errors import Interrupted, UsageError
from harness.log import store
from harness.log.manifest import Manifest
from harness.log.run_folder import RunFolder
from harness.log.schema import origin, reused_from
from harness.records import Ability, Inquiry
from tests.audit.forging import Forger, Rows
from tests.runs import ShuffledExecutor, contents, run, stub_plan
from tests.stubs import REWRITER, Faults, StubJudge


def replies(folder: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = store.read(RunFolder(folder).log, "replies").to_pylist()
    return sorted(rows, key=lambda row: (row["prompt_id"], row["question_index"]))


def test_a_search_draws_what_the_judge_replied(suite: Path, tmp_path: Path) -> None:
    run(stub_plan(suite, strategy=REWRITER), tmp_path / "run")
    frame = harness.load(tmp_path / "run").set_index(["prompt_id", "draw_index"])
    rows = replies(tmp_path / "run")
    assert len(rows) == len(frame) - 10 > 5
    ids = frame["draw_id"]
    for row in rows:
        place = row["prompt_id"], row["question_index"] + 1
        assert frame.loc[place, "text"] == row["reply"] != ""
        assert row["images"] == [ids[row["prompt_id"], row["question_index"]]]
        assert row["judge_tokens"] == 5 and row["judge_device_seconds"] > 0
        assert row["error"] is None and row["round"] == 2 * row["question_index"] + 2
    searches = store.read(RunFolder(tmp_path / "run").log, "searches").to_pylist()
    assert sum(row["questions"] or 0 for row in searches) == len(rows)


def test_replies_are_in_the_totals_and_in_the_costs_of_their_searches(
    suite: Path, tmp_path: Path
) -> None:
    run(stub_plan(suite, strategy=REWRITER), tmp_path / "run")
    rows = replies(tmp_path / "run")
    totals = Manifest.read(tmp_path / "run" / "manifest.json").totals
    judged = harness.load(tmp_path / "run")
    assert totals["judge_tokens"] == int(judged["judge_tokens"].sum()) + 5 * len(rows)
    assert totals["judge_flops"] == judged["judge_flops"].sum() + 1e6 * len(rows)


def test_the_order_of_answers_does_not_matter(suite: Path, tmp_path: Path) -> None:
    ready = stub_plan(suite, strategy=REWRITER, replicates=2)
    run(ready, tmp_path / "inline")
    run(ready, tmp_path / "shuffled", executor=ShuffledExecutor(ready, seed=1))
    assert contents(tmp_path / "inline") == contents(tmp_path / "shuffled")


def test_a_stopped_run_takes_replies_from_its_log(
    suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = stub_plan(suite, strategy=REWRITER)
    run(ready, tmp_path / "whole")
    steps = iter(range(25))
    with pytest.raises(Interrupted):
        run(ready, tmp_path / "parts", stop=lambda: next(steps, None) is None)
    before = replies(tmp_path / "parts")
    asked: list[Inquiry] = []
    reply = StubJudge.reply

    def spy(self: StubJudge, inquiries: list[Inquiry]) -> object:
        asked.extend(inquiries)
        return reply(self, inquiries)

    monkeypatch.setattr(StubJudge, "reply", spy)
    run(ready, tmp_path / "parts")
    assert contents(tmp_path / "whole") == contents(tmp_path / "parts")
    assert before and len(asked) == len(replies(tmp_path / "whole")) - len(before)


def test_a_question_that_the_judge_fails_on_is_a_row_and_an_answer(
    suite: Path, tmp_path: Path, faults: Faults
) -> None:
    faults.add("judge", "error", "on-say 'thing 3'")
    run(stub_plan(suite, strategy=REWRITER), tmp_path / "run")
    failed = [row for row in replies(tmp_path / "run") if row["error"] is not None]
    assert failed and {row["prompt_id"] for row in failed} == {"00003"}
    assert all(row["reply"] is None and row["attempts"] == 4 for row in failed)
    frame = harness.load(tmp_path / "run").query("prompt_id == '00003'")
    assert frame["error"].isna().all() and frame["text"].isna().all()


def test_questions_share_batches_with_questions_alone(
    suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds: list[set[type]] = []
    submit = InlineExecutor.submit

    def spy(self: InlineExecutor, job: Job) -> None:
        kinds.append({type(item) for item in job.items})
        submit(self, job)

    monkeypatch.setattr(InlineExecutor, "submit", spy)
    run(stub_plan(suite, strategy=REWRITER), tmp_path / "run")
    assert {Inquiry} in kinds and all(len(kind) == 1 for kind in kinds)


def test_a_judge_that_does_not_reply_is_refused(
    suite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StubJudge, "abilities", frozenset({Ability.FEEDBACK}))
    with pytest.raises(UsageError, match="asks a judge questions"):
        stub_plan(suite, strategy=REWRITER)
    with pytest.raises(UsageError, match="asks a judge questions"):
        stub_plan(suite, strategy=REWRITER, judge="none")


def test_replies_of_another_run_are_taken_where_the_same_was_asked(
    suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = (stub_plan(suite, strategy=REWRITER, budget=budget) for budget in (3, 6))
    run(small, tmp_path / "pool")
    run(large, tmp_path / "alone")
    asked: list[str] = []
    reply = StubJudge.reply

    def spy(self: StubJudge, inquiries: list[Inquiry]) -> object:
        asked.extend(inquiry.text for inquiry in inquiries)
        return reply(self, inquiries)

    monkeypatch.setattr(StubJudge, "reply", spy)
    run(large, tmp_path / "together", reuse=[tmp_path / "pool"])
    assert contents(tmp_path / "together") == contents(tmp_path / "alone")
    there, here = replies(tmp_path / "pool"), replies(tmp_path / "together")
    assert len(asked) == len(here) - len(there) > 0 < len(there)
    other = Manifest.read(tmp_path / "pool" / "manifest.json").run
    taken = [row for row in here if row["judge_worker"] == reused_from(other)]
    same = ["prompt_id", "question_index", "text", "images", "reply", "judge_tokens", "round",
            "judge_device_seconds", "judge_flops"]  # fmt: skip
    assert [[row[c] for c in same] for row in taken] == [[row[c] for c in same] for row in there]
    asked.clear()
    run(small, tmp_path / "again", reuse=[tmp_path / "together"])
    assert not asked and contents(tmp_path / "again") == contents(tmp_path / "pool")


def test_a_reply_to_another_question_is_not_taken(suite: Path, tmp_path: Path) -> None:
    ready = stub_plan(suite, strategy=REWRITER)
    run(ready, tmp_path / "pool")

    def edit(rows: Rows) -> None:
        rows[0]["text"], rows[1]["images"], rows[2]["question_index"] = "another", ["x"], 9

    Forger(tmp_path / "pool").rewrite("replies", edit)
    run(ready, tmp_path / "run", reuse=[tmp_path / "pool"])
    own = [row for row in replies(tmp_path / "run") if not origin(str(row["judge_worker"]))]
    assert len(own) == 3


def test_the_judge_s_wording_of_a_reused_draw_is_taken_too(
    suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = StubJudge.judge

    def worded(self: StubJudge, *args: object) -> object:
        return [(replace(verdict, prompt="better"), cost) for verdict, cost in judge(self, *args)]

    monkeypatch.setattr(StubJudge, "judge", worded)
    run(stub_plan(suite), tmp_path / "pool")
    run(stub_plan(suite, budget=2), tmp_path / "run", reuse=[tmp_path / "pool"])
    assert (harness.load(tmp_path / "run")["judge_prompt"] == "better").all()
