"""Claim: the verdicts follow from what the scorer put on record of each image.

The benchmark grades every image again from its logged detections, without any model.
"""

from __future__ import annotations

from benchmarks.base import Benchmark
from harness.audit.result import CannotCheck, Problems, Result, concluded, count
from harness.audit.subject import Subject, named
from harness.config import RECORDED_SCORER
from harness.errors import HarnessError
from harness.records import Detection

NAME = "verdicts"


def check(subject: Subject) -> Result:
    """Grade every logged set of detections again."""
    config = subject.config
    if config.scorer is None:
        raise CannotCheck("no scorer graded the images")
    if config.scorer.kind == RECORDED_SCORER:
        raise CannotCheck("detections of verdicts made elsewhere are not on record")
    benchmark: Benchmark = subject.benchmark
    try:
        settings = benchmark.scorer_settings(config.scorer.settings)
    except HarnessError as error:
        raise CannotCheck(error.message) from error
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
            detections = [
                Detection(d["label"], tuple(d["box"]), d["score"], d["color"])
                for d in row["detections"] or ()
            ]
            try:
                score = benchmark.rescore(prompt, detections, settings)
            except HarnessError as error:
                problems.add(f"{name} cannot have a verdict: {error.message}")
                continue
            if score is None:
                raise CannotCheck(
                    f"verdicts of {benchmark.name} do not follow from what is logged alone"
                )
            if score.correct != row["correct"] or score.reason != row["reason"]:
                verdict = "correct" if score.correct else score.reason.replace("\n", "; ")
                problems.add(f"{name}: by its detections it is {verdict}")
    return concluded(NAME, count(number, "verdict"), problems)
