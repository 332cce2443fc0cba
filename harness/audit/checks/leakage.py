"""Claim: no strategy saw the benchmark's score, unless the run says that it is an oracle's.

What the judge decides by is no checkpoint of the scorer's. Each decision follows from what the
judge said alone: the replay that repeats it never reads the scorer's columns. And the judge's words
are not the scorer's own, nor all its verdicts, as those of an oracle under another name would be.
"""

from __future__ import annotations

from harness.audit.audited_run import AuditedRun, named
from harness.audit.checks.decisions import replayed
from harness.audit.result import CannotCheck, Problems, Result, Status, concluded, count
from harness.config import RECORDED_IMAGES, RECORDED_JUDGE, RunConfig
from harness.log.schema import VERDICT
from harness.models.leakage import shared, unread

ENOUGH = 5
"""Rejected images from which on a judge that says word for word what the scorer says is one."""

AGREEING = 50
"""Accepted images, and rejected ones, from which on a judge that never differs from the scorer is
one too. An honest judge that is right 95 times of 100 gets so far once in 170 runs."""

_COLUMNS = (*VERDICT, "correct", "reason", "draw_index")


def check(run: AuditedRun) -> Result:
    """Compare the judge's checkpoints and words with the scorer's; replay without the scores."""
    config = run.config
    gap, echoes, agreed = _gap(run)
    looked = "judge against scorer"
    problems = Problems()
    if config.oracle:
        if config.scorer is None:
            problems.add("the run says that it is an oracle's, and has no scorer")
        evidence = [
            "an oracle run, and says so: its judge is the scorer, its score an upper bound",
            *gap,
        ]
        return concluded(looked, problems, evidence, Status.NOT_APPLICABLE)
    evidence = _checkpoints(config, problems)
    if echoes >= ENOUGH:
        problems.add(
            f"all {count(echoes, 'rejection')} repeat the scorer's reason word for word: the judge "
            "is an oracle"
        )
    if min(agreed) >= AGREEING:
        problems.add(
            f"judge and scorer agree on every one of {sum(agreed)} images, {agreed[0]} of them "
            "accepted: the judge is an oracle"
        )
    evidence += _replayed(run, problems)
    return concluded(looked, problems, [*evidence, *gap])


def _checkpoints(config: RunConfig, problems: Problems) -> list[str]:
    """Name the checkpoints that judge and scorer share, by content."""
    if config.judge.kind == "oracle":
        problems.add("the judge is the oracle, and the run does not say so")
        return []
    if config.scorer is None:
        return ["there is no scorer"]
    if config.judge.kind == RECORDED_JUDGE:
        if config.generator.kind != RECORDED_IMAGES:
            problems.add("only a record is said to have judged images that the run made itself")
        return ["which models judged and scored is not on record"]
    if not config.judge.checkpoints:
        return [f"judge '{config.judge.kind}' has no checkpoints"]
    fields = config.model_dump(mode="json")
    sharing = shared(fields)
    listed = ", ".join(sharing.parts)
    if sharing.deciding:
        problems.add(f"the judge decides by the scorer's own checkpoints ({listed})")
        return []
    how = "compared by their weights"
    if absent := unread(fields):
        how = f"compared by digest alone, the weights of {', '.join(absent)} not being here"
    if sharing.parts:
        return [f"judge and scorer share a part that does not decide ({listed}), {how}"]
    return [f"judge and scorer share no checkpoint, {how}"]


def _replayed(run: AuditedRun, problems: Problems) -> list[str]:
    ended = 0
    try:
        for ended, (key, _, wrong) in enumerate(replayed(run), start=1):  # noqa: B007
            if wrong:
                problems.add(f"without the scores, {named(key)} {wrong[0]}")
    except CannotCheck as error:
        return [f"not replayed without the scores: {error}"]
    return [f"{count(ended, 'search', 'searches')} replayed without the scores"]


def _gap(run: AuditedRun) -> tuple[list[str], int, tuple[int, int]]:
    """Count how often judge and scorer agree.

    Returns:
        What there is to say; rejections that repeat the scorer's, if all of them do; images that
        both accept and that both reject, if they never differ.
    """
    both = {(accepted, correct): 0 for accepted in (True, False) for correct in (True, False)}
    echoes = 0
    echoing = True
    reachable = reached = 0
    for key, rows in run.by_search(_COLUMNS):
        chosen = run.selected(key)
        reachable += any(row["correct"] for row in rows)
        reached += any(row["correct"] for row in rows if row["draw_index"] == chosen)
        for row in rows:
            if row["accepted"] is None or row["correct"] is None:
                continue
            both[row["accepted"], row["correct"]] += 1
            words = (row["reason"] or "").replace("\n", ". ")
            same = row["judge_sentence"] == words and row["accepted"] == row["correct"]
            echoing &= same and row["judge_score"] == float(row["correct"])
            echoes += bool(words)
    number = sum(both.values())
    if not number:
        return ["nothing was both judged and scored"], 0, (0, 0)
    agree = both[True, True] + both[False, False]
    accepted = both[True, True] + both[True, False]
    correct = both[True, True] + both[False, True]
    evidence = [
        f"judge and scorer agree on {agree} of {number} images",
        f"{both[True, True]} of {accepted} accepted are correct, "
        f"{both[True, True]} of {correct} correct are accepted",
        f"{reached} searches selected a correct image, {reachable} had one to select",
    ]
    agreed = (both[True, True], both[False, False]) if agree == number else (0, 0)
    return evidence, echoes if echoing else 0, agreed
