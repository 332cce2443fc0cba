"""Between records and log rows: one place that knows both."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from harness.engine.pending import PendingDraw, PendingQuestion
from harness.engine.searches import Search
from harness.engine.sources import Known
from harness.log.schema import UNITS
from harness.records import (
    Answer,
    Candidate,
    Detection,
    Draw,
    Evidence,
    Feedback,
    Noise,
    Question,
    Reply,
    Role,
    Score,
    Start,
    Verdict,
)
from harness.seeds import canonical_json


def candidate_row(
    run: str, pending: PendingDraw, truncated: Collection[str] | None = None
) -> dict[str, Any]:
    """Return the log row of a draw that is done, well or badly.

    Which of its texts were cut is None if nobody knows.
    """
    search, draw, known = pending.open.search, pending.draw, pending.known
    prompt, verdict, score = search.prompt, known.verdict, known.score
    # The first role that failed, in the order in which they work.
    failed = next((role for role in Role if role in known.errors), None)
    row: dict[str, Any] = {
        **_named(run, search),
        "prompt": prompt.text,
        "tag": prompt.tag,
        "draw_id": pending.request.id,
        "seed": pending.request.seed,
        **draw_columns(draw),
        "truncated": None if truncated is None else list(truncated),
        "image": known.image,
        "accepted": verdict.accepted if verdict else None,
        "judge_score": verdict.score if verdict else None,
        "judge_sentence": verdict.sentence if verdict else None,
        "judge_prompt": verdict.prompt if verdict else None,
        "judge_members": (list(verdict.members) or None) if verdict else None,
        **(_score(score) if score else {}),
        "metrics": known.metrics,
        "error_role": str(failed) if failed else None,
        "error": known.errors[failed] if failed else None,
        "round": pending.round,
        "attempts": 1 + sum(known.attempts.values()),
    }
    for role in Role:
        row |= _cost(role, known)
    return row | dict.fromkeys(known.unknown)


def reply_row(run: str, pending: PendingQuestion) -> dict[str, Any]:
    """Return the log row of a question that is answered, or that the judge gave up on."""
    search, question, known = pending.open.search, pending.question, pending.known
    return {
        **_named(run, search),
        "question_index": question.index,
        "text": question.text,
        "images": list(question.images),
        "round": pending.round,
        "reply": known.reply,
        "error": known.errors.get(Role.JUDGE),
        **_cost(Role.JUDGE, known),
        "attempts": 1 + sum(known.attempts.values()),
    }


def logged_reply(row: Mapping[str, Any]) -> Reply:
    """Return the reply that a row holds, with its question."""
    question = Question(row["question_index"], row["text"], tuple(row["images"] or ()))
    return Reply(question, row["reply"] or "", row["error"])


def _cost(role: Role, known: Known) -> dict[str, Any]:
    """Return the columns of what a role spent."""
    cost = known.costs.get(role)
    spent = {f"{role}_{unit}": getattr(cost, unit) if cost else None for unit in UNITS}
    worker, batch = known.workers.get(role), known.batches.get(role)
    return {**spent, f"{role}_worker": worker, f"{role}_batch": batch}


def logged_candidate(row: Mapping[str, Any], draw: Draw) -> Candidate:
    """Return the candidate that the strategy was sent for a draw of the log."""
    failed = row["error_role"] in (Role.GENERATOR, Role.JUDGE)
    error = row["error"] if failed else None
    return Candidate(draw, row["draw_id"], row["image"], logged_verdict(row), error)


def logged_draw(row: Mapping[str, Any]) -> Draw:
    """Return the draw that a row answers.

    Raises:
        ValueError: The row's settings are not JSON.
    """
    return Draw(
        row["draw_index"],
        tuple(Feedback(f["draw_id"], f["sentence"]) for f in row["feedback"] or ()),
        row["text"],
        json.loads(row["settings"]),
        _noise(row),
        None if row["start"] is None else Start(**row["start"]),
        row["stop"],
    )


def draw_columns(draw: Draw) -> dict[str, Any]:
    """Return the columns `harness.log.schema.DRAW` of a draw."""
    noise, start = draw.noise, draw.start
    turns = noise.turns if noise else ()
    return {
        "draw_index": draw.index,
        "text": draw.text,
        "settings": canonical_json(dict(draw.settings)) if draw.settings else "{}",
        "feedback": [{"draw_id": f.draw_id, "sentence": f.sentence} for f in draw.feedback],
        "noise_index": noise.index if noise else None,
        "noise_turns": [{"index": i, "cosine": c} for i, c in turns] or None,
        "start": {"draw_id": start.draw_id, "renoise": start.renoise} if start else None,
        "stop": draw.stop,
    }


def _noise(row: Mapping[str, Any]) -> Noise | None:
    if row["noise_index"] is None:
        return None
    turns = row["noise_turns"] or ()
    return Noise(row["noise_index"], tuple((turn["index"], turn["cosine"]) for turn in turns))


def logged_verdict(row: Mapping[str, Any]) -> Verdict | None:
    """The judge's verdict in a row, if there is one."""
    if row["accepted"] is None:
        return None
    return Verdict(
        row["accepted"],
        row["judge_score"],
        row["judge_sentence"],
        row.get("judge_prompt"),
        tuple(row.get("judge_members") or ()),
    )


def logged_score(row: Mapping[str, Any]) -> Score | None:
    """The scorer's score in a row, if there is one."""
    value = logged_value(row)
    if value is None:
        return None
    return Score(value, row["correct"], row["reason"], logged_evidence(row))


def logged_value(row: Mapping[str, Any]) -> float | None:
    """The scorer's grade in a row, if there is one; schema 1 knew right and wrong only."""
    if row["correct"] is None:
        return None
    return float(row["correct"] if row["value"] is None else row["value"])


def logged_evidence(row: Mapping[str, Any]) -> Evidence:
    """The evidence of the score in a row; its numbers are as exact as the log's columns."""
    return logged_answers(row) or tuple(
        Detection(d["label"], tuple(d["box"]), d["score"], d["color"])
        for d in row["detections"] or ()
    )


def logged_answers(row: Mapping[str, Any]) -> tuple[Answer, ...]:
    """The answers in a row that its score follows from; none where it follows from detections."""
    return tuple(
        Answer(**{**answer, "parents": tuple(answer["parents"] or ())})
        for answer in row["answers"] or ()
    )


def search_row(run: str, search: Search) -> dict[str, Any]:
    """The log row of a search that ended."""
    selected = search.selected
    return {
        **_named(run, search),
        "draws": search.draws,
        "rounds": search.rounds,
        "selected_index": selected.draw.index if selected else None,
        "selected_id": selected.id if selected else None,
        "error": search.error,
        "questions": search.questions or None,
    }


def _named(run: str, search: Search) -> dict[str, Any]:
    """Return the columns of every row: whose it is, and when it was written."""
    time = datetime.now(UTC)
    return {"run": run, "prompt_id": search.prompt.id, "replicate": search.replicate, "time": time}


def _score(score: Score) -> dict[str, Any]:
    answers = [asdict(answer) for answer in score.answers]
    detections = [asdict(detection) for detection in score.detections]
    return {
        "value": score.value,
        "correct": score.correct,
        "reason": score.reason,
        "detections": None if answers else detections,
        "answers": answers or None,
    }
