"""The official program of a benchmark against its patched variant, over the same logged answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from benchmarks.base import Benchmark, Scored
from harness.analysis.logged_run import LoggedRun
from harness.analysis.skills import scoring_benchmark, selected_rows
from harness.engine.rows import logged_score
from harness.errors import HarnessError
from harness.prompts import read_prompts

COLUMNS = ("run", "measure", "official", "patched", "difference", "items", "official_items",
           "lost_rows", "replaced_items", "lost_items")  # fmt: skip


def dpg_table(runs: Sequence[LoggedRun], names: Sequence[str]) -> pd.DataFrame:
    """Compute both variants of runs over DPG-Bench whose logs answer every question.

    Returns:
        One row a run and measure ("score", then categories, times 100 as published): `run`,
        `measure`, `official`, `patched`, `difference` (patched minus official), `items` and
        `official_items` (images with a score in each), `lost_rows` (rows of questions that the
        official program does not read), `replaced_items` (whose rows are not together, so that
        later ones replace the earlier), `lost_items` (images that the official program leaves out
        of its means in silence). No rows of a run of the variant "official", which did not ask the
        lost question, or where the file of questions is not here.
    """
    rows = [row for run, name in zip(runs, names, strict=True) for row in _rows(run, name)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _rows(run: LoggedRun, name: str) -> Iterator[dict[str, Any]]:
    benchmark = scoring_benchmark(run.parts[0])
    if benchmark is None or type(benchmark).variants is Benchmark.variants:
        return
    try:
        prompts = {prompt.id: prompt for prompt in read_prompts(run.folder, run.manifest)}
        scored = [
            Scored(prompts[row["prompt_id"]], row["replicate"], "", logged_score(row))
            for part in run.parts
            for row in selected_rows(part.folder)
            if row["prompt_id"] in prompts
        ]
        variants = benchmark.variants(scored)
    except HarnessError:  # the file of questions is not here
        return
    for each in variants:
        known = each.official is not None and each.patched is not None
        gap = each.patched - each.official if known else None  # type: ignore[operator]
        numbers = {"official": each.official, "patched": each.patched, "difference": gap}
        yield {"run": name, "measure": each.measure, **numbers, **each.counts}
