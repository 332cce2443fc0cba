"""The real strategy at a smaller budget, answered from the log.

A strategy is deterministic given what it is sent, so at a smaller budget it can be driven again
with the logged candidates for answers. That works as far as it asks for draws the log holds. A
draw is held if its index, text, settings and feedback are the logged ones; where the strategy
asks for anything else, its answer would be a guess, and the replay says so instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from harness.analysis.logged_run import LoggedRun, Part
from harness.analysis.resampling import Ints
from harness.engine.rows import logged_candidate
from harness.engine.searches import Search, timed_out
from harness.errors import HarnessError
from harness.log import store
from harness.options import build
from harness.records import Draw, Prompt
from harness.registry import STRATEGIES
from harness.seeds import canonical_json

ALL_BUDGETS = 24
"""Up to here every budget is replayed; beyond, powers of two and their three halves."""

_COLUMNS = (
    "prompt_id",
    "replicate",
    "draw_index",
    "draw_id",
    "text",
    "settings",
    "feedback",
    "image",
    "accepted",
    "judge_score",
    "judge_sentence",
    "error_role",
    "error",
)

Rows = Mapping[int, Mapping[str, Any]]
"""A search's logged rows by draw index."""


@dataclass(frozen=True)
class Replay:
    """A strategy at several budgets. K budgets, S searches, N logged draws.

    Attributes:
        budgets: The budgets, ascending.
        asked: Which logged draws it asked for, (K, S, N).
        selected: Column of the draw it selected, (K, S); -1 for nothing.
        missing: Whether it asked for a draw that the log does not hold, (K, S).
    """

    budgets: Ints
    asked: npt.NDArray[np.bool_]
    selected: Ints
    missing: npt.NDArray[np.bool_]


def budget_grid(budget: int) -> list[int]:
    """The budgets up to a run's own at which it is replayed."""
    grid = set(range(1, min(budget, ALL_BUDGETS) + 1)) | {budget}
    step = 32
    while step < budget:
        grid |= {step, *([step * 3 // 2] if step * 3 // 2 < budget else [])}
        step *= 2
    return sorted(grid)


def replay(run: LoggedRun, budgets: Sequence[int] | None = None) -> Replay:
    """Drive a run's strategy at smaller budgets against its log.

    Args:
        run: The run.
        budgets: Ascending, none above the run's own; by default `budget_grid`.

    Raises:
        UsageError: The strategy is not installed here, or no longer takes its options.
        HarnessError: At the run's own budget it does not do what was logged, so it is not the
            strategy that ran.
    """
    config = run.manifest.config
    name = config["strategy"]["name"]
    strategy = build(STRATEGIES.get(name), config["strategy"]["options"], flag="-S")
    wanted = np.array(budgets if budgets is not None else budget_grid(config["budget"]))
    shape = (len(wanted), *run.index.shape)
    asked = np.zeros(shape, bool)
    selected = np.full(shape[:2], -1)
    missing = np.zeros(shape[:2], bool)
    for number, part, prompt, replicate, rows in _searches(run):
        columns = {int(i): c for c, i in enumerate(run.index[number]) if i >= 0}
        for k, budget in enumerate(wanted):
            search = Search(strategy, prompt, replicate, budget=int(budget), run_seed=part.seed)
            drawn, missing[k, number] = _drive(search, rows)
            asked[k, number, [columns[index] for index in drawn]] = True
            if search.selected is not None:
                selected[k, number] = columns[search.selected.draw.index]
        if wanted[-1] == config["budget"]:
            logged = int(run.searches["selected"].iloc[number])
            if timed_out(run.searches["error"].iloc[number]):
                # The log has fewer of its draws than it would make in time: the outcome stands.
                asked[-1, number], selected[-1, number] = run.index[number] >= 0, logged
                missing[-1, number] = False
            elif missing[-1, number] or selected[-1, number] != logged:
                raise HarnessError(
                    f"strategy '{name}' as installed here does not do what {part.folder.path} "
                    f"logged for prompt {prompt.id}, replicate {replicate}",
                    "install the version that made the run; the manifest's environment names it",
                )
    return Replay(wanted, asked, selected, missing)


def missing_table(replayed: Replay) -> pd.DataFrame:
    """Budgets at which some searches ask for draws that the log does not hold.

    Returns:
        One row such a budget: `budget`, `searches_missing`, `searches`.
    """
    counts = replayed.missing.sum(axis=1)
    frame = pd.DataFrame({"budget": replayed.budgets, "searches_missing": counts})
    frame["searches"] = replayed.missing.shape[1]
    return frame[frame["searches_missing"] > 0].reset_index(drop=True)


def _searches(run: LoggedRun) -> Iterator[tuple[int, Part, Prompt, int, Rows]]:
    ids = run.prompts["prompt_id"].to_numpy()
    part_of, prompt_of, replicate_of = (
        run.searches[name].to_numpy(np.int64) for name in ("part", "prompt", "replicate")
    )
    for place, part in enumerate(run.parts):
        table = store.read(part.folder.log, "candidates", _COLUMNS)
        keys = table.select(["prompt_id", "replicate"]).to_pandas()
        rows_of = keys.groupby(["prompt_id", "replicate"], sort=False).indices
        for number in np.flatnonzero(part_of == place):
            row, replicate = int(prompt_of[number]), int(replicate_of[number])
            found = rows_of.get((ids[row], replicate), [])
            # One search at a time as Python objects: all at once would not fit for large runs.
            logged = {
                entry["draw_index"]: entry
                for entry in table.take(pa.array(found, pa.int64())).to_pylist()
            }
            facts = run.prompts.iloc[row]
            prompt = Prompt(str(ids[row]), facts["prompt"], facts["tag"])
            yield int(number), part, prompt, replicate, logged


def _drive(search: Search, rows: Rows) -> tuple[list[int], bool]:
    drawn: list[int] = []
    waiting = list(search.start())
    while waiting:
        draw = waiting.pop(0)
        row = rows.get(draw.index)
        if row is None or not _same(draw, row):
            return drawn, True
        drawn.append(draw.index)
        waiting += search.answer(logged_candidate(row, draw))
    return drawn, False


def _same(draw: Draw, row: Mapping[str, Any]) -> bool:
    feedback = [(f.draw_id, f.sentence) for f in draw.feedback]
    return (
        draw.text == row["text"]
        and canonical_json(dict(draw.settings)) == row["settings"]
        and feedback == [(f["draw_id"], f["sentence"]) for f in row["feedback"] or []]
    )
