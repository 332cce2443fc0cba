"""Means by skill: of the questions that a benchmark asks about images, by what they test.

A prompt has one tag and questions of several skills, so these means are over questions, not over
prompts. What a question adds is the benchmark's affair (`Benchmark.by_skill`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.base import Benchmark
from harness.config import RECORDED_SCORER, read_config
from harness.engine.rows import logged_score
from harness.errors import HarnessError
from harness.log import store
from harness.log.manifest import Manifest
from harness.log.run_folder import RunFolder
from harness.log.schema import SCORE
from harness.prompts import benchmark_of, read_prompts


@dataclass(frozen=True, slots=True)
class Skill:
    """The mean of one skill.

    Attributes:
        name: The skill.
        mean: Over its questions.
        questions: How many there are.
    """

    name: str
    mean: float
    questions: int


def by_skill(folder: RunFolder, manifest: Manifest, *, selected: bool) -> list[Skill]:
    """Return the means by skill over a run's scored images; none where nobody asks questions.

    Args:
        folder: The run's folder.
        manifest: Its manifest.
        selected: Of the images that its searches selected; else of all.

    Raises:
        HarnessError: The log is damaged.
    """
    config = read_config(manifest.config)
    if config.scorer is None or config.scorer.kind == RECORDED_SCORER:
        return []
    try:
        benchmark = benchmark_of(config)
        if type(benchmark).by_skill is Benchmark.by_skill:
            return []
        settings = benchmark.scorer_settings(config.scorer.settings)
        prompts = {prompt.id: prompt for prompt in read_prompts(folder, manifest)}
    except HarnessError:  # of a plug-in or a file that is not here: the scores stand without it
        return []
    grades: defaultdict[str, list[float]] = defaultdict(list)
    for row in _rows(folder, selected):
        score = logged_score(row)
        if score is not None and row["prompt_id"] in prompts:
            for skill, grade in benchmark.by_skill(
                prompts[row["prompt_id"]], score.evidence, settings
            ):
                grades[skill].append(grade)
    return [Skill(name, sum(values) / len(values), len(values)) for name, values in grades.items()]


def line(skills: Sequence[Skill]) -> list[str]:
    """Return the line about skills beside a run's scores, if there is anything to say."""
    if not skills:
        return []
    listed = ", ".join(f"{each.name} {each.mean:.3f} of {each.questions}" for each in skills)
    return [f"skills    {listed}"]


def _rows(folder: RunFolder, selected: bool) -> Iterable[Mapping[str, Any]]:
    columns = ["prompt_id", "replicate", "draw_index", *SCORE]
    rows: list[dict[str, Any]] = store.read(folder.log, "candidates", columns).to_pylist()
    if not selected:
        return rows
    searches = store.read(
        folder.log, "searches", ["prompt_id", "replicate", "selected_index"]
    ).to_pylist()
    chosen = {(row["prompt_id"], row["replicate"], row["selected_index"]) for row in searches}
    return [
        row for row in rows if (row["prompt_id"], row["replicate"], row["draw_index"]) in chosen
    ]
