"""Claim: the verdicts follow from the images.

A seeded sample of images is judged, scored and measured again.

Where versions and device are the run's, verdicts must be the same to the last bit; elsewhere
numbers may differ by a tolerance, and yes or no may not. Instead of an image that is not here one
is judged that was made again, bit for bit: by the regeneration, so that nothing is made twice, or
now. Where no generator is here only kept images are chosen from.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np

from harness.audit.audited_run import AuditedRun, Row, named_draw
from harness.audit.regenerator import (
    Regenerator,
    Sampled,
    answer_batch,
    sample,
    setup,
    shared_regenerator,
)
from harness.audit.result import CannotCheck, Problems, Result, concluded, count
from harness.audit.tolerance import machine_differences
from harness.engine.jobs import Answer, Item, Png, Response
from harness.engine.rows import logged_answers, logged_value
from harness.identity import judge_seed
from harness.log.images import image_path
from harness.log.location import local
from harness.log.schema import ANSWERED
from harness.models.judges.chosen import is_remote
from harness.records import Look, Role, Score, Verdict

TOLERANCE = 0.01
"""On scores and grades, and of the size of metrics above 1, on another device or version."""

BOX_TOLERANCE = 1.0
"""On a box's edges, in pixels, likewise."""

Detections = list[tuple[Any, ...]]
"""Detections: label, box, score, colour."""


def check(run: AuditedRun) -> Result:
    """Judge and score a sample of images again."""
    if run.imported:
        raise CannotCheck("the images are not in the run's folder under their own digests")
    if not run.options.rescore:
        raise CannotCheck("not asked for (--rescore)")
    shown, evidence = _images(run)
    if not shown:
        raise CannotCheck("no image is here, and none could be made again bit for bit")
    prompts = {prompt.id: prompt for prompt in run.prompts}
    reasons = machine_differences(run)
    tolerance = TOLERANCE if reasons else 0.0
    asked = 0
    problems = Problems()
    for role in (Role.JUDGE, Role.SCORER, Role.METRIC):
        spec = getattr(run.config, role.value)
        if spec is None or (role is Role.JUDGE and not run.config.judged):
            continue
        if role is Role.JUDGE and is_remote(spec.kind):
            evidence.append(
                f"the judge is an endpoint's ({spec.settings.get('model')} at "
                f"{spec.settings.get('base_url', 'its own address')}), which is not asked again: "
                "its verdicts are what the log holds"
            )
            continue
        try:
            worker = run.loaded.worker(role, setup(run, role))
        except CannotCheck as error:
            evidence.append(f"no verdicts of the {role}: {error}")
            continue
        # What a role failed on then, it has said nothing about.
        answered = [(row, png) for row, png in shown if row[ANSWERED[role]] is not None]
        asked += len(answered)
        for start in range(0, len(answered), spec.batch_size):
            batch = answered[start : start + spec.batch_size]
            items: list[Item] = [
                Look(prompts[row["prompt_id"]], Png(png), judge_seed(row["draw_id"]))
                for row, png in batch
            ]
            for (row, _), answer in zip(batch, answer_batch(worker, items), strict=True):
                problems.extend(named_draw(row), _differences(row, answer, tolerance))
        evidence.append(f"the {role} was asked again about {count(len(answered), 'image')}")
    if not asked:
        raise CannotCheck("; ".join(evidence) or "there is nobody to ask")
    return concluded(count(len(shown), "image"), problems, [*evidence, *reasons])


def _images(run: AuditedRun) -> tuple[list[tuple[Row, bytes]], list[str]]:
    """A sample of draws with their images, and what there is to say of it."""
    number = run.options.rescore
    chosen = sample(run, number, "rescore")
    stored = _stored(run, chosen)
    missing = [one for one in chosen if one.row["draw_id"] not in stored]
    evidence = []
    made: list[tuple[Row, bytes]] = []
    if missing:
        others = {one.row["draw_id"] for one in chosen} - {one.row["draw_id"] for one in missing}
        try:
            made = _made(shared_regenerator(run), missing, others, run.options.seed)
        except CannotCheck as error:
            chosen = sample(run, number, "rescore", lambda row: _is_stored(run, row))
            stored = _stored(run, chosen)
            if not stored:
                raise
            evidence.append(f"of kept images only: {error}")
    return [*stored.values(), *made], evidence


def _stored(run: AuditedRun, chosen: Sequence[Sampled]) -> dict[str, tuple[Row, bytes]]:
    """Rows with their images, by draw id, of those whose images are here and have their pixels."""
    images = ((one.row, run.image(one.row["image"])) for one in chosen)
    return {row["draw_id"]: (row, png) for row, png in images if png is not None}


def _is_stored(run: AuditedRun, row: Row) -> bool:
    return row["image"] is not None and local(image_path(run.folder.images, row["image"])).is_file()


def _made(
    maker: Regenerator, missing: Sequence[Sampled], others: AbstractSet[str], seed: int
) -> list[tuple[Row, bytes]]:
    """As many images as are missing, made again bit for bit: before, or else now."""

    def good(name: str) -> bool:
        return name in maker.made and maker.made[name].digest == maker.rows[name]["image"]

    spare = [name for name in sorted(maker.made) if good(name) and name not in others]
    taken = random.Random(f"{seed} made").sample(spare, min(len(spare), len(missing)))
    rest = [one for one in missing if one.row["draw_id"] not in taken]
    rest = rest[: len(missing) - len(taken)]
    maker.regenerate(rest)
    taken += [one.row["draw_id"] for one in rest if good(one.row["draw_id"])]
    return [(maker.rows[name], maker.made[name].png) for name in taken]


def _differences(row: Any, answer: Answer | str, tolerance: float) -> Iterator[str]:
    value = answer.value if isinstance(answer, Response) else answer
    if isinstance(value, str):
        yield f"no verdict now: {value}"
    elif isinstance(value, Verdict):
        verdict = value
        if verdict.accepted != row["accepted"]:
            yield f"the judge says {verdict.accepted}, logged is {row['accepted']}"
        if abs(verdict.score - row["judge_score"]) > tolerance:
            yield f"the judge gives {verdict.score:.6g}, logged is {row['judge_score']:.6g}"
        logged_members = row["judge_members"] or ()
        if len(verdict.members) != len(logged_members) or any(
            abs(now - then) > tolerance * max(1.0, abs(then))
            for now, then in zip(verdict.members, logged_members, strict=False)
        ):
            yield f"the judge's members give {list(verdict.members)}, logged is {logged_members}"
        if verdict.sentence != row["judge_sentence"] and not tolerance:
            yield f"the judge says '{verdict.sentence}', logged is '{row['judge_sentence']}'"
    elif isinstance(value, Score):
        score = value
        if score.correct != row["correct"]:
            yield f"the scorer says {score.correct}, logged is {row['correct']}"
        grade = logged_value(row)
        if grade is not None and abs(score.value - grade) > tolerance:
            yield f"the scorer's grade is {score.value:.6g}, logged is {grade:.6g}"
        if score.reason != row["reason"] and not (tolerance and score.answers):
            yield f"the scorer's reason is '{score.reason}', logged is '{row['reason']}'"
        if not _same_detections(_detected(score), _logged(row), tolerance):
            yield "the scorer's detections are others"
        if score.answers != logged_answers(row) and not tolerance:
            yield "the scorer's answers are others"
    elif isinstance(value, dict):
        logged = dict(row["metrics"])
        for name, measure in value.items():
            if name not in logged:
                yield f"the metric '{name}' is not logged"
            elif abs(measure - logged[name]) > tolerance * max(1.0, abs(logged[name])):
                yield f"the metric '{name}' gives {measure:.6g}, logged is {logged[name]:.6g}"


def _same_detections(now: Detections, then: Detections, tolerance: float) -> bool:
    """True if detections are the same; with a tolerance, if those of equal labels are near.

    On another device a detection at the threshold may come or go, which the verdict does not
    hang on; so with a tolerance only lists of the same labels are compared.
    """
    if not tolerance:
        return now == then
    if [label for label, *_ in now] != [label for label, *_ in then]:
        return True
    return all(
        abs(one[2] - other[2]) <= tolerance
        and np.allclose(one[1], other[1], rtol=0, atol=BOX_TOLERANCE)
        and one[3] == other[3]
        for one, other in zip(now, then, strict=True)
    )


def _detected(score: Score) -> Detections:
    return [
        (d.label, tuple(float(np.float32(e)) for e in d.box), float(np.float32(d.score)), d.color)
        for d in score.detections
    ]


def _logged(row: Any) -> Detections:
    return [(d["label"], tuple(d["box"]), d["score"], d["color"]) for d in row["detections"] or []]
