"""A run's own strategy at every smaller budget, answered from its log (`harness.replay`)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from harness.engine.deadline import deadline
from harness.engine.searches import Search, SearchKey, timed_out
from harness.errors import HarnessError
from harness.log import store
from harness.options import build
from harness.records import Prompt
from harness.registry import STRATEGIES
from harness.replay import COLUMNS, REPLY, LoggedAnswers, Replayed, Row, by_search
from harness.replay import replay as replay_search
from harness.runs.logged_run import LoggedRun, Part
from harness.statistics.intervals import Ints
from strategies.base import Strategy

ALL_BUDGETS = 24
"""Up to here every budget is replayed; beyond, powers of two and their three halves."""


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
    strategy: Strategy = build(STRATEGIES.get(name), config["strategy"]["options"], flag="-S")
    grid = list(budgets if budgets is not None else budget_grid(config["budget"]))
    shape = (len(grid), *run.index.shape)
    asked = np.zeros(shape, bool)
    selected = np.full(shape[:2], -1)
    missing = np.zeros(shape[:2], bool)
    logged = run.searches["selected"].to_numpy()
    errors = run.searches["error"].tolist()
    replies = {
        id(part): dict(by_search(store.read(part.folder.log, "replies", REPLY), "replies"))
        for part in run.parts
    }
    with deadline(0):
        for number, part, prompt, replicate, rows in logged_searches(run):
            answers = LoggedAnswers(
                rows, replies[id(part)].get(SearchKey(prompt.id, replicate), ())
            )
            columns = {int(i): c for c, i in enumerate(run.index[number]) if i >= 0}
            columns[-1] = -1
            above = len(grid)
            while above:
                search = Search(
                    strategy,
                    prompt,
                    replicate,
                    budget=grid[above - 1],
                    run_seed=part.seed,
                    settings=config["generator"].get("settings", {}),
                )
                result = replay_search(search, answers)
                span = slice(_holds_from(result, strategy, grid[:above]), above)
                missing[span, number] = bool(result.missing)
                for index in result.asked:
                    asked[span, number, columns[index]] = True
                selected[span, number] = columns[-1 if result.selected is None else result.selected]
                above = span.start
            if grid[-1] != config["budget"]:
                continue
            if timed_out(errors[number]):
                # The log has fewer of its draws than it would make in time: the outcome stands.
                asked[-1, number], selected[-1, number] = run.index[number] >= 0, logged[number]
                missing[-1, number] = False
            elif missing[-1, number] or selected[-1, number] != logged[number]:
                raise HarnessError(
                    f"strategy '{name}' as installed here does not do what {part.folder.path} "
                    f"logged for prompt {prompt.id}, replicate {replicate}",
                    "install the version that made the run; the manifest's environment names it",
                )
    return Replay(np.array(grid), asked, selected, missing)


def _holds_from(result: Replayed, strategy: Strategy, budgets: Sequence[int]) -> int:
    """Return the place of the least budget under which a search would have gone the same way.

    Args:
        result: How it went under the last of the budgets.
        strategy: Whose own word it is.
        budgets: Ascending.
    """
    # A subclass has another search, perhaps, and has promised nothing of it.
    only_limits = vars(type(strategy)).get("budget_only_limits", False)
    if not only_limits or result.missing or result.error or result.questions:
        return len(budgets) - 1
    return bisect_left(budgets, len(result.asked))


def missing_table(replayed: Replay) -> pd.DataFrame:
    """Budgets at which some searches ask for draws that the log does not hold.

    Returns:
        One row such a budget: `budget`, `searches_missing`, `searches`.
    """
    counts = replayed.missing.sum(axis=1)
    frame = pd.DataFrame({"budget": replayed.budgets, "searches_missing": counts})
    frame["searches"] = replayed.missing.shape[1]
    return frame[frame["searches_missing"] > 0].reset_index(drop=True)


def logged_searches(
    run: LoggedRun, table_of: Callable[[Part], pa.Table] | None = None
) -> Iterator[tuple[int, Part, Prompt, int, Sequence[Row]]]:
    """Yield each ended search: its row number, run, prompt, replicate and logged rows.

    Args:
        run: Whose searches.
        table_of: Returns a part's candidates, where they need not be read again.
    """
    texts = (run.prompts[name].tolist() for name in ("prompt_id", "prompt", "tag"))
    prompts = [Prompt(*fields) for fields in zip(*texts, strict=True)]
    places = run.searches[["part", "prompt", "replicate"]].to_numpy(np.int64)
    for place, part in enumerate(run.parts):
        numbers = {
            SearchKey(prompts[prompt].id, int(replicate)): (number, prompts[prompt])
            for number, (own, prompt, replicate) in enumerate(places)
            if own == place
        }
        read = partial(store.read, part.folder.log, "candidates", COLUMNS)
        for key, rows in by_search(table_of(part) if table_of else read()):
            if key in numbers:
                number, prompt = numbers.pop(key)
                yield number, part, prompt, key.replicate, rows
        for key, (number, prompt) in numbers.items():  # they failed before their first draw
            yield number, part, prompt, key.replicate, ()
