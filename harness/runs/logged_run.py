"""A run's log as arrays: one row a search, one column a draw, ready for vectorised arithmetic.

Several runs that differ only in their seed may be one `LoggedRun` (`harness.analysis.protocol`).

Only searches that ended are in it. A score over searches under way would favour those that end
early; how many are missing is kept, and every table and figure says it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from harness.config import RECORDED_IMAGES
from harness.log import store
from harness.log.manifest import FINISHED, Manifest
from harness.log.measured import verifying
from harness.log.run_folder import RunFolder
from harness.log.schema import ROLES
from harness.records import Prompt
from harness.runs import measurement
from harness.runs.measurement import Coverage
from harness.statistics.intervals import Bools, Floats, Ints, mean_of
from harness.truncation import Truncated

COST_AXES = {
    "nfe": ("nfe", 1.0),
    "tflops": ("flops", 1e12),
    "device_seconds": ("device_seconds", 1.0),
}
"""Costs that curves are drawn against: the log's unit of each, and what it is divided by."""

PADDED = "tflops_padded"
"""TFLOPs with the padding of batches, which belong to whole runs only."""

ROLE_SETS: Mapping[str, tuple[str, ...]] = {
    "": ROLES,
    "_search": ("generator", "judge"),
    "_generator": ("generator",),
}
"""Suffix of a cost column to the roles it counts."""

FILLS = {
    "index": -1,
    "answered": False,
    "accepted": False,
    "with_feedback": False,
    "judge_score": -np.inf,
    "correct": False,
    "value": 0.0,
    "scored": False,
    "failed": False,
}
"""Arrays of a `LoggedRun` with a place a draw, and what stands where a search drew less."""


@dataclass(frozen=True)
class Group:
    """The prompts that one score is averaged over.

    Attributes:
        kind: "micro" (all prompts), "macro" (mean over tags) or "tag".
        tag: The tag, "" for micro and macro.
        rows: Row numbers of its prompts.
    """

    kind: str
    tag: str
    rows: Ints


@dataclass(frozen=True)
class Part:
    """A run's folder and what it is."""

    folder: RunFolder
    manifest: Manifest

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self.manifest.config["seed"])

    @cached_property
    def truncated(self) -> Truncated:
        """Which of its prompts the text encoder cut."""
        columns = ["prompt_id", "truncated"]
        return truncation_in(store.read(self.folder.log, "candidates", columns), self.manifest)


@dataclass(frozen=True)
class LoggedRun:
    """The ended searches of a run. S searches of up to N draws over P prompts.

    Attributes:
        parts: The run; or those that differ in nothing but the seed, pooled, by ascending seed.
        prompts: One row a prompt in order of id: `prompt_id`, `prompt`, `tag`.
        searches: One row a search, in order of prompt, part and replicate: `prompt` (row
            number), `part` (number of its run in `parts`), `replicate`, `draws`, `rounds`,
            `selected` (draw's column, or -1), `error`.
        index: Draw indices, (S, N); -1 where a search drew less.
        answered: Whether there is an image and a verdict, (S, N).
        accepted: Whether the judge accepted it, (S, N).
        with_feedback: Whether feedback on earlier draws came with it, (S, N).
        judge_score: The judge's score, (S, N); minus infinity where there is none. Of a judge that
            ranks within a search: the mean share of its search's images that are no better.
        correct: Whether the scorer found it correct, (S, N); False where it could not say.
        value: The scorer's grade, (S, N); 0 where it could not say.
        scored: Whether the scorer could say, (S, N).
        costs: By "axis_role" (`COST_AXES`, `PADDED`, "tokens" and "calls" of language models): what
            each draw cost, (S, N); NaN where unknown.
        failed: Whether a draw failed, in generation, judging or scoring, (S, N).
        dependent: Why the draws of a search are not independent and alike, or "".
        metrics: By name: what each further metric gave each image, (S, N); NaN where unknown.
        ranks_within: Whether the judge ranks within a search, so that no subset of it is ranked by
            its scores.
    """

    parts: tuple[Part, ...]
    prompts: pd.DataFrame
    searches: pd.DataFrame
    index: Ints
    answered: Bools
    accepted: Bools
    with_feedback: Bools
    judge_score: Floats
    correct: Bools
    value: Floats
    scored: Bools
    costs: Mapping[str, Floats]
    failed: Bools
    dependent: str
    metrics: Mapping[str, Floats] = field(default_factory=dict)
    ranks_within: bool = False

    def __repr__(self) -> str:
        from harness.runs.wording import run_text

        return run_text(self)

    def _repr_html_(self) -> str:
        from harness.runs.wording import as_html, described

        return as_html([described(self)])

    @property
    def folder(self) -> RunFolder:
        """The folder of the run, or of the first of several."""
        return self.parts[0].folder

    @property
    def manifest(self) -> Manifest:
        """The manifest; those of several runs differ in nothing but their seeds."""
        return self.parts[0].manifest

    @property
    def verifying(self) -> dict[str, Any]:
        """The config, with metrics that measured its images afterwards."""
        return verifying(self.folder, self.manifest)

    @property
    def seeds(self) -> list[int]:
        """The runs' seeds."""
        return [part.seed for part in self.parts]

    @property
    def devices(self) -> set[str | None]:
        """Names of the devices that worked on it; None among them where one is not on record."""
        sessions = [session for part in self.parts for session in part.manifest.sessions]
        return {
            worker.get("device_name") or worker.get("device")
            for session in sessions
            for worker in (session.get("workers") or {"": {}}).values()
        } or {None}

    @property
    def images_per_prompt(self) -> int:
        """Searches a prompt, over all seeds."""
        return int(self.manifest.config["replicates"]) * len(self.parts)

    @cached_property
    def prompt_set(self) -> Mapping[str, Prompt] | None:
        """Its prompts by content, ended or not: `harness.runs.measurement.by_content`."""
        return measurement.by_content(self.folder, self.manifest)

    @cached_property
    def coverage(self) -> Coverage | None:
        """The share of GenEval's prompt set that it is over, if GenEval is its benchmark."""
        return measurement.coverage(self.folder, self.manifest, self.prompt_set)

    @cached_property
    def measurement(self) -> Mapping[str, Any]:
        """The conditions of its scores: `harness.runs.measurement.measurement`."""
        return measurement.measurement(self.manifest, self.prompt_set)

    @property
    def draws_failed(self) -> int:
        """Draws of these searches that failed."""
        return int(self.failed.sum())

    @cached_property
    def groups(self) -> list[Group]:
        """Micro, macro, then every tag in order of name; tags only if there are several."""
        everything = np.arange(len(self.prompts))
        tags = [
            Group("tag", str(tag), np.flatnonzero(self.prompts["tag"].to_numpy() == tag))
            for tag in sorted(self.prompts["tag"].unique())
        ]
        return [
            Group("micro", "", everything),
            Group("macro", "", everything),
            *(tags if len(tags) > 1 else []),
        ]

    @cached_property
    def strata(self) -> list[Ints]:
        """Row numbers of every tag's prompts."""
        return [group.rows for group in self.groups if group.kind == "tag"] or [
            np.arange(len(self.prompts))
        ]

    @property
    def searches_total(self) -> int:
        """Searches there will be once the run is finished."""
        ended = np.bincount(self.searches["part"], minlength=len(self.parts)).tolist()
        return sum(
            searches_total(part.manifest, number)
            for part, number in zip(self.parts, ended, strict=True)
        )

    @property
    def searches_failed(self) -> int:
        """Ended searches that selected nothing."""
        return int((self.searches["selected"] < 0).sum())

    @property
    def searches_scored(self) -> int:
        """Ended searches whose selected image has a score; the others are in no mean of scores."""
        return int(np.isfinite(self.outcomes()).sum())

    @property
    def least(self) -> float:
        """Micro score if the images of all searches without a score were wrong."""
        return float(self.by_prompt(np.nan_to_num(self.outcomes())).mean())

    def by_prompt(self, values: Floats) -> Floats:
        """Mean over each prompt's searches: (S, …) to (P, …); NaN where a part is unknown."""
        rows = self.searches["prompt"].to_numpy()
        counts = np.bincount(rows, minlength=len(self.prompts))
        means: Floats = self._sums(values) / counts.reshape(-1, *[1] * (values.ndim - 1))
        return means

    def scores_by_prompt(self, values: Floats) -> Floats:
        """Mean over the scores of each prompt's searches: (S, …) to (P, …).

        Unlike a cost, a score that is unknown (NaN) is left out: a failure is no wrong image.
        """
        known = np.isfinite(values)
        if known.all():
            return self.by_prompt(values)
        with np.errstate(invalid="ignore"):
            sums = self._sums(np.where(known, values, 0.0))
            means: Floats = sums / self._sums(known.astype(float))
        return means

    def _sums(self, values: Floats) -> Floats:
        rows = self.searches["prompt"].to_numpy()
        starts = np.searchsorted(rows, np.arange(len(self.prompts)))
        sums: Floats = np.add.reduceat(values, starts, axis=0)
        return sums

    def by_group(self, values: Floats, mean: Callable[[Floats], Floats] = mean_of) -> Floats:
        """Mean of each of `groups`: (P, K) to (groups, K).

        Args:
            values: By prompt, (P, K).
            mean: Over rows: `mean_of` is NaN where a part is unknown, `known_mean` leaves it out.
        """
        tags = [mean(values[rows]) for rows in self.strata]
        of_group = [mean(values[self.groups[0].rows]), mean(np.stack(tags)), *tags]
        return np.stack(of_group[: len(self.groups)])  # a single tag is no group of its own

    def spent(self, axis: str, roles: Sequence[str] = ROLES) -> Floats:
        """Return what each draw cost on an axis (see `costs`) over some roles, (S, N)."""
        total: Floats = np.sum([self.costs[f"{axis}_{role}"] for role in roles], axis=0)
        return total

    def spending(self) -> Iterator[tuple[str, Floats]]:
        """Yield every cost column of curves and tables, and what each draw cost, (S, N)."""
        yield "draws", (self.index >= 0).astype(float)
        for suffix, roles in ROLE_SETS.items():
            for axis in COST_AXES:
                yield axis + suffix, self.spent(axis, roles)

    def mean_cost(self, spent: Floats) -> Floats:
        """Return the mean cost of a search by group, (groups,), from each draw's, (S, N)."""
        return self.by_group(self.by_prompt(spent.sum(axis=1)[:, None]))[:, 0]

    def with_arrays(
        self, change: Callable[[npt.NDArray[Any], float], npt.NDArray[Any]], **fields: Any
    ) -> LoggedRun:
        """Return the run with all arrays of draws changed in one way, and other fields replaced.

        Args:
            change: From an array and what fills it where a search drew less to another array.
            fields: New values of the other fields.
        """
        arrays: dict[str, Any] = {
            name: change(getattr(self, name), fill) for name, fill in FILLS.items()
        }
        costs = {name: change(values, 0.0) for name, values in self.costs.items()}
        metrics = {name: change(values, np.nan) for name, values in self.metrics.items()}
        return replace(self, costs=costs, metrics=metrics, **arrays, **fields)

    def outcomes(self) -> Floats:
        """Score of each search's selected image, (S,); NaN where nobody knows."""
        return self.outcomes_of(self.searches["selected"].to_numpy())

    def outcomes_of(self, columns: Ints) -> Floats:
        """Score of a draw of each search, (S,); NaN where it has none.

        Args:
            columns: Its column, -1 for no draw; (S,).
        """
        place = np.arange(len(columns)), np.maximum(columns, 0)
        known = self.scored[place] & self.answered[place] & (columns >= 0)
        values: Floats = np.where(known, self.value[place], np.nan)
        return values

    def measured(self, values: Floats) -> Floats:
        """Mean over each prompt's selected images of a number a draw, (S, N) to (P,).

        Args:
            values: NaN where unknown, which is left out.
        """
        columns = self.searches["selected"].to_numpy()
        selected = values[np.arange(len(columns)), np.maximum(columns, 0)]
        return self.scores_by_prompt(np.where(columns >= 0, selected, np.nan))

    def scores(self) -> Floats:
        """Score of each prompt as the run selected, (P,): the mean over its known searches."""
        return self.scores_by_prompt(self.outcomes())


def searches_total(manifest: Manifest, ended: int) -> int:
    """Return how many searches a run has once it is finished.

    Args:
        manifest: The run's.
        ended: Searches that have ended. Where images came from elsewhere, prompts may have
            different numbers of them, and all that were there are all there are.
    """
    if manifest.state == FINISHED and manifest.config["generator"]["kind"] == RECORDED_IMAGES:
        return ended
    return int(manifest.prompt_set.count * manifest.config["replicates"])


def truncation_in(table: pa.Table, manifest: Manifest) -> Truncated:
    """Return which prompts of a run had texts cut, of those with draws in a table of candidates."""
    known = table.filter(pc.is_valid(table["truncated"]))
    cut = known.filter(pc.greater(pc.list_value_length(known["truncated"]), 0))
    texts: list[tuple[str, list[str]]] = [
        (prompt_id, []) for prompt_id in known["prompt_id"].unique().to_pylist()
    ]
    texts += zip(cut["prompt_id"].to_pylist(), cut["truncated"].to_pylist(), strict=True)
    return Truncated.of(manifest.prompt_set.count, texts)
