"""The log that another strategy or budget would have left, made of a run's own draws.

Every ended search is replayed. Where the log holds all draws that the strategy asks for, the result
is the log that a run of it would have written, and is summarised by the same code. Where it does
not, nothing is estimated: the draws that are missing are named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from harness.analysis.loading import assemble, ended
from harness.analysis.replay import logged_searches
from harness.analysis.summary import Summary, summary_of
from harness.config import RECORDED_IMAGES, read_config
from harness.engine.deadline import deadline
from harness.engine.searches import Search, SearchKey
from harness.errors import HarnessError, UsageError
from harness.log import store
from harness.log.location import Location
from harness.log.manifest import Manifest
from harness.log.run_folder import RunFolder
from harness.log.schema import KEYS, TABLES
from harness.options import build, resolved
from harness.plan import check_abilities
from harness.records import Ability
from harness.registry import STRATEGIES
from harness.replay import LoggedAnswers, MissingDraw, Replayed, replay

LISTED = 3
"""Missing draws that a message names."""


@dataclass(frozen=True)
class WhatIf:
    """The rows that a run would have left.

    Attributes:
        folder: The run whose draws these are.
        manifest: Its manifest, with the other strategy and budget.
        candidates: Rows of the draws that the strategy asks for, as logged.
        searches: A row a search.
    """

    folder: RunFolder
    manifest: Manifest
    candidates: pa.Table
    searches: pa.Table

    @property
    def summary(self) -> Summary:
        """Scores with intervals, draws and costs, as of a run."""
        replies = TABLES["replies"].empty_table()
        frame = self.searches.to_pandas()
        logged = assemble(self.folder, self.manifest, frame.copy(), self.candidates, replies)
        return summary_of(self.manifest, frame, self.candidates, replies, logged)


def what_if(
    path: str | Location,
    strategy: str,
    options: Mapping[str, Any] | None = None,
    *,
    budget: int | None = None,
) -> WhatIf:
    """Replay a strategy against the draws of a run.

    Args:
        path: The run's folder.
        strategy: The strategy's name.
        options: Its options.
        budget: The most draws for one prompt; the run's own by default.

    Raises:
        UsageError: The strategy or an option is unknown, or does not fit the run's models, or a
            replay of it cannot be exact; or no search of the run has ended.
        HarnessError: The log lacks draws that the strategy asks for, or is damaged.
    """
    folder = RunFolder.existing(path)
    manifest = Manifest.read(folder.manifest)
    config = read_config(manifest.config)
    if config.generator.kind == RECORDED_IMAGES:
        raise UsageError(
            f"the images of {folder.path} were made elsewhere: which draws they are is not known",
            "replay a run that was made here",
        )
    built = build(STRATEGIES.get(strategy), options or {}, flag="-S")
    budget = budget or config.budget
    check_abilities(built, config.generator, config.judge, budget)
    if Ability.REPLY in built.needs():
        raise UsageError(
            f"strategy '{strategy}' asks the judge questions, whose answers no log can give for it",
            "run it, with --reuse for the draws that it has in common with a run",
        )
    run = ended(folder, manifest)
    if run is None:
        raise UsageError(f"no search of {folder.path} has ended yet", "let it run on first")
    results: dict[SearchKey, Replayed] = {}
    with deadline(0):
        for _, part, prompt, replicate, rows in logged_searches(run):
            search = Search(
                built,
                prompt,
                replicate,
                budget=budget,
                run_seed=part.seed,
                settings=config.generator.settings,
            )
            results[search.key] = replay(search, LoggedAnswers(rows))
    _check_complete(folder, strategy, budget, results)
    table = store.read(folder.log, "candidates")
    asked = {(key, index) for key, result in results.items() for index in result.asked}
    prompts, replicates, indices = (table[name].to_pylist() for name in KEYS["candidates"])
    is_asked = [
        (SearchKey(prompt, replicate), index) in asked
        for prompt, replicate, index in zip(prompts, replicates, indices, strict=True)
    ]
    candidates = table.filter(pa.array(is_asked, pa.bool_()))
    other = {"name": strategy, "options": resolved(built)}
    fields = {**manifest.config, "strategy": other, "budget": budget}
    return WhatIf(
        folder,
        replace(manifest, config=fields, sessions=(), totals={}),
        candidates,
        _searches(manifest.run, results, candidates),
    )


def _check_complete(
    folder: RunFolder, strategy: str, budget: int, results: Mapping[SearchKey, Replayed]
) -> None:
    missing_draws = {key: result.missing for key, result in results.items() if result.missing}
    if not missing_draws:
        return
    draws = [(key, draw) for key, missing in missing_draws.items() for draw in missing]
    listed = "; ".join(_sentence(key, draw) for key, draw in draws[:LISTED])
    more = f"; and {len(draws) - LISTED} more" if len(draws) > LISTED else ""
    raise HarnessError(
        f"the log of {folder.path} cannot say: in {len(missing_draws)} of {len(results)} searches "
        f"'{strategy}' with a budget of {budget} asks for draws that it lacks: {listed}{more}",
        f"make those draws: python -m harness run --strategy {strategy} --budget {budget} "
        f"--reuse {folder.path}, with the run's other options",
    )


def _sentence(key: SearchKey, draw: MissingDraw) -> str:
    name = f"draw {draw.index} of prompt {key.prompt_id}, replicate {key.replicate}"
    return f"{name} (logged with another {draw.differing})" if draw.differing else name


def _searches(run: str, results: Mapping[SearchKey, Replayed], candidates: pa.Table) -> pa.Table:
    """Return the rows of searches that a run would have written."""
    names = (*KEYS["candidates"], "draw_id")
    ids = {
        (SearchKey(prompt, replicate), index): draw_id
        for prompt, replicate, index, draw_id in zip(
            *(candidates[name].to_pylist() for name in names), strict=True
        )
    }
    rows = [
        {
            "run": run,
            "prompt_id": key.prompt_id,
            "replicate": key.replicate,
            "draws": len(result.asked),
            "rounds": result.rounds,
            "selected_index": result.selected,
            "selected_id": None if result.selected is None else ids[key, result.selected],
            "error": result.error,
        }
        for key, result in results.items()
    ]
    return pa.Table.from_pylist(rows, TABLES["searches"]).sort_by(
        [(name, "ascending") for name in KEYS["searches"]]
    )
