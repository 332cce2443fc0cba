"""The tables of a run's report computed anew: results, curves and the gap to the oracle."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from harness.audit.audited_run import AuditedRun
from harness.audit.result import CannotCheck
from harness.engine.searches import Search
from harness.log.manifest import FINISHED
from harness.models.bundled import is_miniature
from harness.records import Prompt
from harness.replay import LoggedAnswers, Replayed, replay
from strategies.base import Strategy
from tests.reference import intervals
from tests.reference.counted import COSTS, PADDED, Counted, added, counted
from tests.reference.intervals import Floats
from tests.reference.selectors import REPLAYS, SUBSETS, Worth, over_subsets, replayed

Key = tuple[Any, ...]
Cells = dict[str, Any]
Rows = dict[Key, Cells]
"""Rows of a table by what names them, each as cells by column."""

BOOTSTRAP, BY_TAG, WILSON, NONE = (
    "BCa bootstrap",
    "BCa bootstrap, by tag",
    "Wilson",
    "none: all gaps equal",
)


@dataclass(frozen=True)
class Curve:
    """A selector over budgets.

    Attributes:
        selector: Which.
        own: Whether the run itself selected so.
        basis: "subsets", "replay" or "run".
        worth: By budget, each prompt's score and spending; None where the log cannot tell.
    """

    selector: str
    own: bool
    basis: str
    worth: Mapping[int, Sequence[Worth] | None]


class Recount:
    """A run's report computed anew. Has state: what was computed so far.

    Args:
        subject: The run.
        budgets: The budgets at which a strategy is driven again; its own alone by default.
    """

    def __init__(self, audited: AuditedRun, budgets: Sequence[int] = ()) -> None:
        self._run = audited
        self._budgets = budgets
        self._seed = audited.options.report_seed
        self.searches = counted(audited)
        if not self.searches:
            raise CannotCheck("no search has ended, so there is nothing to report")
        self._prompts: dict[str, list[Counted]] = defaultdict(list)
        for search in self.searches:
            self._prompts[search.key.prompt_id].append(search)
        tags: dict[str, list[int]] = defaultdict(list)
        for place, searches in enumerate(self._prompts.values()):
            tags[max(search.tag for search in searches)].append(place)
        self._tags = dict(sorted(tags.items()))

    # What a table repeats in every row.

    @cached_property
    def facts(self) -> Cells:
        """How the run was measured, and how complete it is."""
        config = self._run.config
        draws = [draw for search in self.searches for draw in search.draws]
        return {
            "images_per_prompt": config.replicates,
            "seeds": str(config.seed),
            "oracle": config.oracle,
            "miniature": is_miniature(config.model_dump(mode="json")),
            "searches": len(self.searches),
            "searches_total": self._searches_total(),
            "searches_failed": sum(search.selected is None for search in self.searches),
            "searches_scored": sum(not math.isnan(search.score) for search in self.searches),
            "draws_failed": sum(draw.failed for draw in draws),
            "draws_logged": len(draws),
        }

    def _searches_total(self) -> int:
        if self._run.imported and self._run.manifest.state == FINISHED:
            return len(self.searches)  # as many as there were, prompt by prompt
        return self._run.manifest.prompt_set.count * self._run.config.replicates

    # The three tables.

    def results(self) -> Rows:
        """`results.csv` by kind and tag."""
        worth = self._by_prompt([(search.score, search.spent()) for search in self.searches])
        result: Rows = {}
        for (kind, tag), rows in self._groups():
            cells = next(self._cells([worth], kind, rows))
            cells["detectable_unpaired"] = (
                intervals.detectable(cells["score"], cells["prompts"])
                if kind == "micro"
                else math.nan
            )
            result[kind, tag] = cells | self.facts
        return result

    def curves(self) -> Rows:
        """`curves.csv` by selector, kind, tag and budget."""
        result: Rows = {}
        for curve in self._curves:
            known = [n for n, worth in curve.worth.items() if worth is not None]
            for (kind, tag), rows in self._groups():
                cells = dict(
                    zip(
                        known,
                        self._cells([curve.worth[n] or () for n in known], kind, rows),
                        strict=True,
                    )
                )
                for n in curve.worth:
                    row = {
                        "own": curve.own,
                        **cells.get(n, _unknown(sum(map(len, rows)))),
                        **self.facts,
                    }
                    del row[PADDED]  # of whole runs only
                    result[curve.selector, curve.basis, kind, tag, n] = row
        return result

    def gap(self) -> Rows:
        """`gap.csv` by kind, tag and budget."""
        oracle = next((curve for curve in self._curves if curve.selector == "oracle"), None)
        own = next(curve for curve in self._curves if curve.own)
        result: Rows = {}
        if oracle is None:
            return result
        pairs_of = {
            n: [(a, b) for (a, _), (b, _) in zip(first, second, strict=True)]
            for n, first in own.worth.items()
            if first is not None and (second := oracle.worth.get(n)) is not None
        }
        known = [n for n, pairs in pairs_of.items() if any(map(_finite, pairs))]
        for (kind, tag), (rows, *others) in self._groups():
            if others or kind == "macro" or not known:
                continue
            for n in known:
                both = [pairs_of[n][row] for row in rows if _finite(pairs_of[n][row])]
                ours, best = np.array(both, float).reshape(-1, 2).T
                [ends] = intervals.bca([(best - ours)[:, None]], self._seed)
                low, high = ends or (math.nan, math.nan)
                result[kind, tag, n] = {
                    "oracle": _mean(best),
                    "own": _mean(ours),
                    "gap": _mean(best - ours),
                    "low": low,
                    "high": high,
                    "method": BOOTSTRAP if ends else NONE,
                    "prompts": len(both),
                }
        return result

    # How they come about.

    def _groups(self) -> Iterator[tuple[tuple[str, str], list[list[int]]]]:
        """Kind and tag, and the places of its prompts: for macro those of each tag."""
        strata = list(self._tags.values())
        yield ("micro", ""), [sorted(place for places in strata for place in places)]
        yield ("macro", ""), strata
        if len(strata) > 1:
            for tag, places in self._tags.items():
                yield ("tag", tag), [places]

    def _by_prompt(self, of_searches: Sequence[Worth]) -> list[Worth]:
        """Means over each prompt's searches; of scores, over those that are known."""
        result, start = [], 0
        for searches in self._prompts.values():
            part = of_searches[start : start + len(searches)]
            start += len(searches)
            total = added([spent for _, spent in part])
            result.append(
                (
                    _mean([score for score, _ in part if not math.isnan(score)]),
                    {name: total[name] / len(part) for name in COSTS},
                )
            )
        return result

    def _cells(
        self, columns: Sequence[Sequence[Worth]], kind: str, rows: Sequence[Sequence[int]]
    ) -> Iterator[Cells]:
        """Score, interval and costs of a group, for each of several columns."""
        usual = BY_TAG if kind == "macro" else BOOTSTRAP
        for worth in columns:
            scores = [np.array([worth[place][0] for place in places], float) for places in rows]
            # What has no score is in no mean, nor is a tag of which nothing has one.
            strata = [of[~np.isnan(of)] for of in scores if not np.isnan(of).all()]
            prompts = sum(map(len, strata))
            score = _mean([_mean(of) for of in strata])
            [ends] = intervals.bca([of[:, None] for of in strata], self._seed) if strata else [None]
            low, high = ends or (math.nan, math.nan)
            if strata and not ends:
                low, high = intervals.wilson(min(max(score, 0.0), 1.0), prompts)
            costs = {
                name: _mean([_mean([worth[place][1][name] for place in p]) for p in rows])
                for name in COSTS
            }
            yield {
                "score": score,
                "low": low,
                "high": high,
                "method": "" if not strata else usual if ends else WILSON,
                "prompts": prompts or sum(map(len, rows)),
                **costs,
            }

    @cached_property
    def _curves(self) -> list[Curve]:
        if self._alike():
            size = max(len(search.draws) for search in self.searches)
            by_score = self._chose_by_score(size)
            result = [
                Curve(
                    selector,
                    by_score and selector == "score",
                    "subsets",
                    {
                        n: self._by_prompt([over_subsets(s, selector, n) for s in self.searches])
                        for n in range(1, size + 1)
                    },
                )
                for selector in SUBSETS
            ]
            if by_score:
                return result
            return [next(self._replays()), *result]
        return list(self._replays())

    def _alike(self) -> bool:
        """Whether the draws of a search are independent and alike, so that subsets count."""
        rows = [row for search in self.searches for row in search.rows]
        return (
            all(search.rounds <= 1 for search in self.searches)
            and not any(row["feedback"] or row["text"] is not None for row in rows)
            and len({row["settings"] for row in rows}) <= 1
            and len({len(search.draws) for search in self.searches} - {0}) <= 1
        )

    def _chose_by_score(self, size: int) -> bool:
        if size != self._run.config.budget:
            return False  # whoever stops early chooses among what it drew
        for search in self.searches:
            answered = [draw for draw in search.draws if draw.answered]
            best = max(answered, key=lambda draw: (draw.score, -draw.index), default=None)
            if search.selected != (best.index if best else None):
                return False
        return True

    def _replays(self) -> Iterator[Curve]:
        try:
            strategy = self._run.strategy
        except CannotCheck:
            worth = self._by_prompt([(search.score, search.spent()) for search in self.searches])
            yield Curve("strategy", True, "run", {self._run.config.budget: worth})
            return
        worth_of: dict[str, dict[int, list[Worth] | None]] = {name: {} for name in REPLAYS}
        for budget in self._budgets or [self._run.config.budget]:
            result = [self._replayed(search, strategy, budget) for search in self.searches]
            for selector in REPLAYS:
                # A mean over the searches that can be answered would favour the easy prompts.
                worth_of[selector][budget] = (
                    None
                    if any(one.missing for one in result)
                    else self._by_prompt(
                        [
                            replayed(search, selector, one)
                            for search, one in zip(self.searches, result, strict=True)
                        ]
                    )
                )
        for selector in REPLAYS:
            yield Curve(selector, selector == "strategy", "replay", worth_of[selector])

    def _replayed(self, search: Counted, strategy: Strategy, budget: int) -> Replayed:
        if search.timed_out and budget == self._run.config.budget:
            logged = tuple(draw.index for draw in search.draws)
            return Replayed(logged, (), (), search.rounds, search.selected, None)
        prompt = Prompt(search.key.prompt_id, search.text, search.tag)
        again = Search(
            strategy,
            prompt,
            search.key.replicate,
            budget=budget,
            run_seed=self._run.config.seed,
            settings=self._run.config.generator.settings,
        )
        return replay(again, LoggedAnswers(search.rows))


def _mean(values: Sequence[float] | Floats) -> float:
    return math.fsum(values) / len(values) if len(values) else math.nan


def _finite(pair: tuple[float, float]) -> bool:
    return not any(map(math.isnan, pair))


def _unknown(prompts: int) -> Cells:
    nothing = dict.fromkeys(("score", "low", "high", *COSTS), math.nan)
    return {**nothing, "method": "", "prompts": prompts}
