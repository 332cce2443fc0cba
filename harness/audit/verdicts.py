"""Claim: GenEval's verdicts follow from the objects that its detector found.

The rules are applied again to the logged detections of every image, without any model.
"""

from __future__ import annotations

import numpy as np

from benchmarks.geneval import rules
from benchmarks.geneval.metadata import BadMetadata, requirements
from harness.audit.result import CannotCheck, Problems, Result, concluded, count
from harness.audit.subject import Subject, named
from harness.config import RECORDED_SCORER

NAME = "verdicts"


def check(subject: Subject) -> Result:
    """Judge every logged set of detections again."""
    config = subject.config
    if config.benchmark.name != "geneval" or config.scorer is None:
        raise CannotCheck("only GenEval's rules can be applied to what is logged")
    if config.scorer.kind == RECORDED_SCORER:
        raise CannotCheck("detections of verdicts made elsewhere are not on record")
    overlap = config.scorer.settings.get("max_overlap", rules.MAX_OVERLAP)
    assert isinstance(overlap, int | float)
    prompts = {prompt.id: prompt for prompt in subject.prompts}
    problems = Problems()
    number = 0
    for key, rows in subject.by_search(["correct", "reason", "detections"]):
        prompt = prompts.get(key.prompt_id)
        for row in rows:
            if row["correct"] is None:
                continue
            number += 1
            name = named(key, row["draw_index"])
            if prompt is None:
                problems.add(f"{name} is of no prompt of the set")
                continue
            found = row["detections"] or []
            boxes = np.array([d["box"] for d in found], np.float32).reshape(-1, 4)
            scores = np.array([d["score"] for d in found], np.float32)
            kept = rules.keep(
                [d["label"] for d in found], scores, boxes, tag=prompt.tag, max_overlap=overlap
            )
            colors = {place: str(d["color"]) for place, d in enumerate(found) if d["color"]}
            try:
                asked = requirements(prompt.metadata)
                outcome = rules.judge(asked, kept, boxes, colors.__getitem__)
            except BadMetadata as error:
                problems.add(f"{name} cannot have a verdict: {error.message}")
                continue
            except KeyError:
                problems.add(f"{name}: the colour of an object that was asked for is not logged")
                continue
            if outcome.correct != row["correct"] or outcome.reason != row["reason"]:
                said = "correct" if outcome.correct else outcome.reason.replace("\n", "; ")
                problems.add(f"{name}: by its detections it is {said}")
    return concluded(NAME, count(number, "verdict"), problems)
