"""The log that another strategy, budget or judge would have left, made of a run's own draws.

Every ended search is replayed. Where the log holds all draws that the strategy asks for, whole or
in parts, the result is the log that a run of it would have written, and is summarised by the same
code. Where it does not, nothing is estimated: the draws that are missing are named.

Costs are those of the parts that a draw consists of: evaluations, tokens and seconds are added up,
so steps that it does not make are not charged. Of the FLOPs, the decoding of previews that it does
not show is taken off, as the generator's class computes it; where it computes nothing they are
unknown. Seconds keep that decoding, and are at most so much too many. Encoding a prompt is charged
to the draw that the log charges.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from harness.abilities import check_abilities
from harness.config import RECORDED_IMAGES, RunConfig, read_config
from harness.engine.deadline import deadline
from harness.engine.rows import draw_columns, search_row
from harness.engine.searches import Search, SearchKey
from harness.errors import HarnessError, UsageError
from harness.identity import Resolver
from harness.locating import located_here
from harness.log import store
from harness.log.grades import GRADE
from harness.log.location import Location
from harness.log.manifest import Manifest
from harness.log.run_folder import RunFolder
from harness.log.schema import DRAW, KEYS, TABLES, UNITS
from harness.models.base import CostOf
from harness.models.remote_code import remote_code
from harness.options import build, resolved
from harness.records import Ability, Role
from harness.registry import GENERATORS, STRATEGIES
from harness.replay import COLUMNS, Replayed, replay
from harness.runs.loading import COLUMNS as SCORED
from harness.runs.loading import assemble, ended
from harness.runs.logged_run import LoggedRun
from harness.runs.replay import logged_searches
from harness.runs.summary import Summary, summary_of
from harness.statistics.intervals import Floats
from harness.what_if.judges import (
    ORACLE,
    chosen,
    judging_of,
    measured,
    rejudged,
    with_columns,
)
from harness.what_if.trajectories import (
    Joined,
    LoggedTrajectories,
    TrajectoryAnswers,
    check_complete,
)

_NO_REPLIES = TABLES["replies"].empty_table()
_COST = tuple(f"generator_{unit}" for unit in UNITS)
_PLACE = "place"
"""Added column: a row's number in the table."""

_COLUMNS = (*COLUMNS, *GRADE, "reason", "metrics", _PLACE)
"""What replays read of a row."""

SWEPT = tuple(
    dict.fromkeys((*SCORED, *COLUMNS, *GRADE, "reason", *(f"metric_{unit}" for unit in UNITS)))
)
"""Columns that scores and costs of a replay are made of: all that a sweep needs."""


@dataclass(frozen=True)
class WhatIf:
    """The rows that a run would have left.

    Attributes:
        folder: The run whose draws these are.
        manifest: Its manifest, with the other strategy, budget and judge.
        candidates: Rows of the draws that the strategy asks for, as a run would have logged them.
        searches: A row a search.
    """

    folder: RunFolder
    manifest: Manifest
    candidates: pa.Table
    searches: pa.Table

    @property
    def run(self) -> LoggedRun:
        """The log as arrays."""
        searches = self.searches.to_pandas()
        return assemble(self.folder, self.manifest, searches, self.candidates, _NO_REPLIES)

    @property
    def summary(self) -> Summary:
        """Scores with intervals, draws and costs, as of a run."""
        searches = self.searches.to_pandas()
        return summary_of(self.manifest, searches, self.candidates, _NO_REPLIES, self.run)


@dataclass(frozen=True)
class Bank:
    """A run whose draws answer other strategies.

    Attributes:
        folder: Where it lies.
        manifest: What it is.
        config: Its config.
        searches: The trajectories of each ended search, with the seed of its noise.
        table: Its candidates.
        costs: What the generator spent on each of its rows, by unit; NaN where unknown.
        cost_of: Computes what a draw takes; None where that is not known.
        decoding: What it has computed of decoding, by text and settings.
    """

    folder: RunFolder
    manifest: Manifest
    config: RunConfig
    searches: Sequence[LoggedTrajectories]
    table: pa.Table
    costs: Mapping[str, Floats]
    cost_of: CostOf | None
    decoding: dict[Hashable, float] = field(default_factory=dict)

    @classmethod
    def open(cls, path: str | Location, columns: Sequence[str] | None = None) -> Bank:
        """Read a run.

        Args:
            path: Its folder.
            columns: Of the rows that replays come to; all by default.

        Raises:
            UsageError: Its images were made elsewhere, or no search of it has ended.
            HarnessError: It is damaged.
        """
        folder = RunFolder.existing(path)
        manifest = Manifest.read(folder.manifest)
        config = read_config(manifest.config)
        if config.generator.kind == RECORDED_IMAGES:
            raise UsageError(
                f"the images of {folder.path} were made elsewhere: which draws they are is not "
                "known",
                "replay a run that was made here",
            )
        run = ended(folder, manifest)
        if run is None:
            raise UsageError(f"no search of {folder.path} has ended yet", "let it run on first")
        searches = []
        resolver = Resolver.of(config)
        config, table = measured(folder, config, store.read(folder.log, "candidates", columns))
        numbers = pa.array(range(len(table)), pa.int64())
        rows_of = table.append_column(_PLACE, numbers).select(_COLUMNS)
        for _, _, prompt, replicate, rows in logged_searches(run, lambda part: rows_of):
            searches.append(LoggedTrajectories(prompt, replicate, resolver))
            searches[-1].add(rows)
        costs = {
            name: table[name].to_numpy(zero_copy_only=False).astype(np.float64) for name in _COST
        }
        return cls(folder, manifest, config, searches, table, costs, _cost_of(config))

    def replayed(
        self,
        strategy: str,
        options: Mapping[str, Any] | None = None,
        *,
        budget: int | None = None,
        judge: str | None = None,
        judge_settings: Mapping[str, str] | None = None,
        is_hasty: bool = False,
    ) -> WhatIf:
        """Replay a strategy against the draws of the run.

        Args:
            strategy: The strategy's name.
            options: Its options.
            budget: The most draws for one prompt; the run's own by default.
            judge: "oracle", or "metric=NAME" with a metric that the run has measured, in place of
                the run's own judge, which may be named too.
            judge_settings: Its options.
            is_hasty: Give up at the first search that asks for draws which the log lacks.

        Raises:
            UsageError: The strategy or an option is unknown, or does not fit the run's models, or a
                replay of it cannot be exact.
            HarnessError: The log lacks draws that the strategy asks for, or is damaged.
        """
        built = build(STRATEGIES.get(strategy), options or {}, flag="-S")
        budget = budget or self.config.budget
        spec = chosen(self.folder, self.config, judge, judge_settings or {})
        check_abilities(built, self.config.generator, spec, budget)
        if Ability.REPLY in built.needs():
            raise UsageError(
                f"strategy '{strategy}' asks the judge questions, whose answers no log can give "
                "for it",
                "run it, with --reuse for the draws that it has in common with a run",
            )
        is_logged = spec == self.config.judge
        judging = judging_of(spec, is_logged=is_logged)
        config = self.config.model_copy(update={"budget": budget})
        results: dict[SearchKey, Replayed] = {}
        rows: list[dict[str, Any]] = []
        joined: list[Joined] = []
        with deadline(0):
            for logged in self.searches:
                search = Search.of(config, built, logged.prompt, logged.replicate)
                answers = TrajectoryAnswers(logged, judging)
                results[search.key] = replay(search, answers)
                rows.append({**search_row(self.manifest.run, search), "time": None})
                joined += [answers.joined[index] for index in sorted(answers.joined)]
                if is_hasty and results[search.key].missing:
                    break
        check_complete(self.folder, strategy, budget, results)
        candidates = self._candidates(joined)
        fields = {
            **self.manifest.config,
            "strategy": {"name": strategy, "options": resolved(built)},
            "budget": budget,
        }
        if not is_logged:
            shown = [j.parts[-1] for j in joined]
            candidates = rejudged(candidates, shown, judging, spec, self.config)
            fields["judge"] = spec.model_dump(mode="json")
            fields["oracle"] = spec.kind == ORACLE
        manifest = replace(self.manifest, config=fields, sessions=(), totals={})
        searches = pa.Table.from_pylist(rows, TABLES["searches"])
        searches = searches.sort_by([(name, "ascending") for name in KEYS["searches"]])
        return WhatIf(self.folder, manifest, candidates, searches)

    def _candidates(self, joined: Sequence[Joined]) -> pa.Table:
        """Return the rows that a run would have logged, in order of search and draw."""
        table = self.table.take(pa.array([j.parts[-1][_PLACE] for j in joined], pa.int64()))
        drawn = [draw_columns(j.draw) for j in joined]
        changed: dict[str, Any] = {
            **{name: [row[name] for row in drawn] for name in DRAW},
            **self._costs(joined),
            "draw_id": [j.request.id for j in joined],
            "seed": [j.request.seed for j in joined],
            "round": [j.round for j in joined],
        }
        return with_columns(table, changed)

    def _costs(self, joined: Sequence[Joined]) -> dict[str, pa.Array]:
        """Return what the generator spent on draws: what their parts took (see the module)."""
        places = np.array([part[_PLACE] for j in joined for part in j.parts], np.int64)
        counts = np.array([len(j.parts) for j in joined], np.int64)
        firsts = np.cumsum(counts) - counts
        surplus = np.array([self._decoding(j) for j in joined])
        columns = {}
        for name, costs in self.costs.items():
            spent = costs[places]
            total = np.add.reduceat(spent, firsts) if len(spent) else spent
            if name == "generator_rows":  # batches are the run's; whole ones are padded alike
                first = spent[firsts]
                same = np.repeat(first, counts) == spent
                total = np.where(np.logical_and.reduceat(same, firsts), first, np.nan)
            elif name == "generator_flops":
                total = total - surplus
            columns[name] = pa.array(total, from_pandas=True)
        return columns

    def _decoding(self, joined: Joined) -> float:
        """Return the FLOPs of decoding the previews that a draw does not show; NaN if unknown."""
        unseen, request = len(joined.parts) - 1, joined.request
        if not unseen:
            return 0.0
        if self.cost_of is None:
            return float("nan")
        key = request.text, tuple(request.settings.items())  # it hangs on nothing else
        if key not in self.decoding:
            self.decoding[key] = self.cost_of(request).decoding
        return unseen * self.decoding[key]


def _cost_of(config: RunConfig) -> CostOf | None:
    build_cost = getattr(GENERATORS.get(config.generator.kind), "expected_cost", None)
    if build_cost is None:
        return None
    try:
        loading = config.generator.loading(located_here(config, Role.GENERATOR))
        with remote_code(trusted=config.generator.trust_remote_code):
            result: CostOf | None = build_cost(loading)
    except HarnessError:  # without the checkpoints' configuration FLOPs are unknown, and said to be
        return None
    return result
