"""Claim: the verdicts follow from what the scorer put on record of each image.

The benchmark grades every image again from its logged evidence, without any model.
"""

from __future__ import annotations

from benchmarks.base import Benchmark
from harness.audit.audited_run import AuditedRun, named_draw
from harness.audit.result import CannotCheck, Problems, Result, checkable, concluded, count
from harness.config import RECORDED_SCORER
from harness.engine.rows import logged_score
from harness.errors import HarnessError
from harness.log.schema import SCORE
from harness.records import Score


def check(run: AuditedRun) -> Result:
    """Grade every image again from its logged evidence."""
    config = run.config
    if config.scorer is None:
        raise CannotCheck("no scorer graded the images")
    if config.scorer.kind == RECORDED_SCORER:
        raise CannotCheck("the evidence for verdicts made elsewhere is not on record")
    benchmark: Benchmark = run.benchmark
    with checkable():
        settings = benchmark.scorer_settings(config.scorer.settings)
    prompts = {prompt.id: prompt for prompt in run.prompts}
    problems = Problems()
    number = 0
    for row in run.draws(SCORE):
        logged = logged_score(row)
        if logged is None:
            continue
        number += 1
        name, prompt = named_draw(row), prompts.get(row["prompt_id"])
        if prompt is None:
            problems.add(f"{name} is of no prompt of the set")
            continue
        try:
            score = benchmark.rescore(prompt, logged.evidence, settings)
        except HarnessError as error:
            problems.add(f"{name} cannot have a verdict: {error.message}")
            continue
        if score is None:
            raise CannotCheck(
                f"verdicts of {benchmark.name} do not follow from what is logged alone"
            )
        if score != logged:
            problems.add(f"{name}: by its evidence it is {_verdict(score)}")
    return concluded(count(number, "verdict"), problems)


def _verdict(score: Score) -> str:
    grade = "" if score.value in (0.0, 1.0) else f"{score.value:.6g}: "
    return grade + ("correct" if score.correct else score.reason.replace("\n", "; "))
