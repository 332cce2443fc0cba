"""Between records and log rows: one place that knows both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from harness.engine.searches import Search
from harness.records import Candidate, Cost, Detection, Draw, Role, Score, Verdict
from harness.seeds import canonical_json


@dataclass
class Pending:
    """A draw on its way through generator, judge and scorer. Has state: what came back so far.

    Attributes:
        search: Whose draw it is.
        draw: The request.
        id: Its identity.
        seed: Its noise seed.
        png: The image, until the row is written.
        image: Digest of its pixels.
        verdict: The judge's.
        score: The scorer's.
        errors: Why a role gave up on it.
        costs: What each role spent.
        workers: Who did it.
        batches: In which batch.
        attempts: Failed tries, by role.
        strikes: Of these, the ones that may have been the draw's own fault.
        waiting: Roles that still have to answer before the row can be written.
    """

    search: Search
    draw: Draw
    id: str
    seed: int
    png: bytes | None = None
    image: str | None = None
    verdict: Verdict | None = None
    score: Score | None = None
    errors: dict[Role, str] = field(default_factory=dict)
    costs: dict[Role, Cost] = field(default_factory=dict)
    workers: dict[Role, str] = field(default_factory=dict)
    batches: dict[Role, str] = field(default_factory=dict)
    attempts: Counter[Role] = field(default_factory=Counter)
    strikes: Counter[Role] = field(default_factory=Counter)
    waiting: set[Role] = field(default_factory=set)

    @property
    def error_role(self) -> Role | None:
        """The first role that failed, in the order in which they work."""
        return next((role for role in Role if role in self.errors), None)

    def candidate(self) -> Candidate:
        """What the strategy is told: never the score, nor a failure of the scorer."""
        error = self.errors.get(Role.GENERATOR, self.errors.get(Role.JUDGE))
        return Candidate(self.draw, self.id, self.image, self.verdict, error)


def candidate_row(run: str, pending: Pending) -> dict[str, Any]:
    """The log row of a draw that is done, well or badly."""
    draw, prompt = pending.draw, pending.search.prompt
    verdict, score = pending.verdict, pending.score
    row: dict[str, Any] = {
        "run": run,
        "prompt_id": prompt.id,
        "prompt": prompt.text,
        "tag": prompt.tag,
        "replicate": pending.search.replicate,
        "draw_index": draw.index,
        "draw_id": pending.id,
        "seed": pending.seed,
        "text": draw.text,
        "settings": canonical_json(dict(draw.settings)),
        "feedback": [{"draw_id": f.draw_id, "sentence": f.sentence} for f in draw.feedback],
        "image": pending.image,
        "accepted": verdict.accepted if verdict else None,
        "judge_score": verdict.score if verdict else None,
        "judge_sentence": verdict.sentence if verdict else None,
        "correct": score.correct if score else None,
        "reason": score.reason if score else None,
        "detections": _detections(score) if score else None,
        "error_role": str(role) if (role := pending.error_role) else None,
        "error": pending.errors[role] if role else None,
        "attempts": 1 + sum(pending.attempts.values()),
        "time": datetime.now(UTC),
    }
    for role in Role:
        cost = pending.costs.get(role)
        row |= {
            f"{role}_nfe": cost.nfe if cost else None,
            f"{role}_flops": cost.flops if cost else None,
            f"{role}_device_seconds": cost.device_seconds if cost else None,
            f"{role}_tokens": cost.tokens if cost else None,
            f"{role}_worker": pending.workers.get(role),
            f"{role}_batch": pending.batches.get(role),
        }
    return row


def logged_candidate(row: Mapping[str, Any], draw: Draw) -> Candidate:
    """What the strategy was told of a draw that the log already answers."""
    failed = row["error_role"] in (Role.GENERATOR, Role.JUDGE)
    error = row["error"] if failed else None
    return Candidate(draw, row["draw_id"], row["image"], logged_verdict(row), error)


def logged_verdict(row: Mapping[str, Any]) -> Verdict | None:
    """The judge's verdict in a row, if there is one."""
    if row["accepted"] is None:
        return None
    return Verdict(row["accepted"], row["judge_score"], row["judge_sentence"])


def logged_score(row: Mapping[str, Any]) -> Score | None:
    """The scorer's score in a row, if there is one."""
    if row["correct"] is None:
        return None
    detections = (
        Detection(d["label"], tuple(d["box"]), d["score"], d["color"])
        for d in row["detections"] or ()
    )
    return Score(row["correct"], row["reason"], tuple(detections))


def search_row(run: str, search: Search) -> dict[str, Any]:
    """The log row of a search that ended."""
    selected = search.selected
    return {
        "run": run,
        "prompt_id": search.prompt.id,
        "replicate": search.replicate,
        "draws": search.draws,
        "rounds": search.rounds,
        "selected_index": selected.draw.index if selected else None,
        "selected_id": selected.id if selected else None,
        "error": search.error,
        "time": datetime.now(UTC),
    }


def _detections(score: Score) -> list[dict[str, Any]]:
    return [
        {"label": d.label, "box": list(d.box), "score": d.score, "color": d.color}
        for d in score.detections
    ]
