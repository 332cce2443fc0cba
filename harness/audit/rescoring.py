"""Claim: the verdicts follow from the images.

A seeded sample of images is judged and scored again.

Where versions and device are the run's, verdicts must be the same to the last bit; elsewhere
numbers may differ by a tolerance, and yes or no may not. An image that is not here is made again
first, and judged where it comes out bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from harness.audit.regeneration import elsewhere
from harness.audit.remade import Remaker, Sampled, run_apart, sample, setup
from harness.audit.result import CannotCheck, Problems, Result, concluded, count
from harness.audit.subject import Subject, named
from harness.engine.jobs import Judged, LookItem, Scored
from harness.engine.searches import SearchKey
from harness.engine.worker import Worker
from harness.log.images import image_path
from harness.records import Role, Score

NAME = "rescoring"

TOLERANCE = 0.01
"""On scores between 0 and 1, on another device or version."""

BOX_TOLERANCE = 1.0
"""On a box's edges, in pixels, likewise."""


_ANSWER = {Role.JUDGE: "accepted", Role.SCORER: "correct"}

Found = list[tuple[Any, ...]]
"""Detections: label, box, score, colour."""


def check(subject: Subject) -> Result:
    """Judge and score a sample of images again."""
    if subject.foreign:
        raise CannotCheck("the images are not in the run's folder under their own digests")
    if not subject.options.rescore:
        raise CannotCheck("not asked for (--rescore)")
    chosen = sample(subject, subject.options.rescore, "rescore")
    pngs = _images(subject, chosen)
    chosen = [one for one in chosen if one.row["draw_id"] in pngs]
    if not chosen:
        raise CannotCheck("no image is here, and none could be made again bit for bit")
    prompts = {prompt.id: prompt for prompt in subject.prompts}
    reasons = elsewhere(subject)
    tolerance = TOLERANCE if reasons else 0.0
    asked = 0
    problems = Problems()
    evidence = []
    for role in (Role.JUDGE, Role.SCORER):
        spec = getattr(subject.config, role.value)
        if spec is None or (role is Role.JUDGE and not subject.config.judged):
            continue
        try:
            worker = Worker(role, setup(subject, role))
        except CannotCheck as error:
            evidence.append(f"no verdicts of the {role}: {error}")
            continue
        # What a role failed on then, it has said nothing about.
        answered = [one for one in chosen if one.row[_ANSWER[role]] is not None]
        asked += len(answered)
        for start in range(0, len(answered), spec.batch_size):
            batch = answered[start : start + spec.batch_size]
            items = [
                LookItem(
                    prompts[one.row["prompt_id"]],
                    pngs[one.row["draw_id"]],
                    int(one.row["draw_id"][:15], 16),
                )
                for one in batch
            ]
            for one, answer in zip(batch, run_apart(worker, items), strict=True):
                row = one.row
                for problem in _differences(row, answer, tolerance):
                    key = SearchKey(row["prompt_id"], row["replicate"])
                    problems.add(f"{named(key, row['draw_index'])}: {problem}")
        evidence.append(f"the {role} was asked again about {count(len(answered), 'image')}")
    if not asked:
        raise CannotCheck("; ".join(evidence) or "there is nobody to ask")
    return concluded(NAME, count(len(chosen), "image"), problems, [*evidence, *reasons])


def _images(subject: Subject, chosen: list[Sampled]) -> dict[str, bytes]:
    """The images that are kept, and for the others what a generator here makes bit for bit."""
    found = {}
    lacking = []
    for one in chosen:
        path = image_path(subject.folder.images, one.row["image"])
        if path.is_file():
            found[one.row["draw_id"]] = path.read_bytes()
        else:
            lacking.append(one)
    if lacking:
        remaker = Remaker(subject)
        remaker.make(lacking)
        for one in lacking:
            made = remaker.made.get(one.row["draw_id"])
            if made is not None and made.digest == one.row["image"]:
                found[one.row["draw_id"]] = made.png
    return found


def _differences(row: Any, answer: Any, tolerance: float) -> Iterator[str]:
    if isinstance(answer, str):
        yield f"no verdict now: {answer}"
    if isinstance(answer, Judged) and row["accepted"] is not None:
        verdict = answer.verdict
        if verdict.accepted != row["accepted"]:
            yield f"the judge says {verdict.accepted}, logged is {row['accepted']}"
        if abs(verdict.score - row["judge_score"]) > tolerance:
            yield f"the judge gives {verdict.score:.6g}, logged is {row['judge_score']:.6g}"
        if verdict.sentence != row["judge_sentence"] and not tolerance:
            yield f"the judge says '{verdict.sentence}', logged is '{row['judge_sentence']}'"
    if isinstance(answer, Scored) and row["correct"] is not None:
        score = answer.score
        if score.correct != row["correct"]:
            yield f"the scorer says {score.correct}, logged is {row['correct']}"
        if score.reason != row["reason"]:
            yield f"the scorer's reason is '{score.reason}', logged is '{row['reason']}'"
        if not _alike(_detected(score), _logged(row), tolerance):
            yield "the scorer's detections are others"


def _alike(now: Found, then: Found, tolerance: float) -> bool:
    """Whether detections are the same; with a tolerance, whether those of equal labels are near.

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


def _detected(score: Score) -> Found:
    return [
        (d.label, tuple(float(np.float32(e)) for e in d.box), float(np.float32(d.score)), d.color)
        for d in score.detections
    ]


def _logged(row: Any) -> Found:
    return [(d["label"], tuple(d["box"]), d["score"], d["color"]) for d in row["detections"] or []]
