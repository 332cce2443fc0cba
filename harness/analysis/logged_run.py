"""A run's log as arrays: one row a search, one column a draw, ready for vectorised arithmetic.

Several runs that differ only in their seed may be one `LoggedRun` (`harness.analysis.pooling`).

Only searches that ended are in it. A score over searches under way would favour those that end
early; how many are missing is kept, and every table and figure says it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from harness.analysis.resampling import Floats, Ints
from harness.analysis.undrawn import undrawn_prompts
from harness.config import FOREIGN, read_config
from harness.errors import UsageError
from harness.log import damage, store
from harness.log.costs import spent
from harness.log.location import Location
from harness.log.manifest import FINISHED, Manifest
from harness.log.run_folder import RunFolder
from harness.log.schema import ROLES

Bools = npt.NDArray[np.bool_]
Number = TypeVar("Number", np.bool_, np.int64, np.float64)

UNITS = {"nfe": 1.0, "flops": 1e12, "device_seconds": 1.0}
"""Cost columns of a role that curves are drawn against, and what they are divided by."""

SEARCH_COLUMNS = ("prompt", "part", "replicate", "draws", "rounds", "selected", "error")

_COLUMNS = (
    "prompt_id",
    "prompt",
    "tag",
    "replicate",
    "draw_index",
    "text",
    "settings",
    "feedback",
    "accepted",
    "judge_score",
    "correct",
    "error_role",
    *(f"{role}_{unit}" for role in ROLES for unit in UNITS),
)


@dataclass(frozen=True)
class Group:
    """What one score is averaged over.

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
        judge_score: The judge's score, (S, N); minus infinity where there is none.
        correct: Whether the scorer found it correct, (S, N); False where it could not say.
        scored: Whether the scorer could say, (S, N).
        costs: By "unit_role" (flops in TFLOPs): what each draw cost, (S, N); NaN where unknown.
        failed: Whether a draw failed, in generation, judging or scoring, (S, N).
        dependent: Why the draws of a search are not independent and alike, or "".
    """

    parts: tuple[Part, ...]
    prompts: pd.DataFrame
    searches: pd.DataFrame
    index: Ints
    answered: Bools
    accepted: Bools
    judge_score: Floats
    correct: Bools
    scored: Bools
    costs: Mapping[str, Floats]
    failed: Bools
    dependent: str

    @property
    def folder(self) -> RunFolder:
        """Where the run, or the first of several, lies."""
        return self.parts[0].folder

    @property
    def manifest(self) -> Manifest:
        """What it is; several runs differ in nothing but their seeds."""
        return self.parts[0].manifest

    @property
    def seeds(self) -> list[int]:
        """The runs' seeds."""
        return [part.seed for part in self.parts]

    @property
    def images_per_prompt(self) -> int:
        """Searches a prompt, over all seeds."""
        return int(self.manifest.config["replicates"]) * len(self.parts)

    @property
    def draws_failed(self) -> int:
        """Draws of these searches that failed."""
        return int(self.failed.sum())

    @property
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

    @property
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

    def by_group(self, values: Floats) -> Floats:
        """Mean of each of `groups`: (P, K) to (groups, K); NaN where a part is unknown."""
        macro = np.mean([values[rows].mean(axis=0) for rows in self.strata], axis=0)
        return np.stack(
            [macro if g.kind == "macro" else values[g.rows].mean(axis=0) for g in self.groups]
        )

    def scores_by_group(self, values: Floats) -> Floats:
        """Mean of each of `groups` over the prompts whose scores are known: (P, K) to (groups, K).

        The mean over tags is one over the tags in which any is.
        """
        macro = known_mean(np.stack([known_mean(values[rows]) for rows in self.strata]))
        return np.stack(
            [macro if g.kind == "macro" else known_mean(values[g.rows]) for g in self.groups]
        )

    def spent(self, unit: str, roles: Sequence[str] = ROLES) -> Floats:
        """What each draw cost in a unit over some roles, (S, N)."""
        total: Floats = np.sum([self.costs[f"{unit}_{role}"] for role in roles], axis=0)
        return total

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
        values: Floats = np.where(known, self.correct[place], np.nan)
        return values

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
    if manifest.state == FINISHED and manifest.config["generator"]["kind"] == FOREIGN:
        return ended
    return int(manifest.prompt_set.count * manifest.config["replicates"])


def known_mean(values: Floats) -> Floats:
    """Mean over the rows that are known (not NaN), (n, K) to (K,); NaN where none is."""
    known = np.isfinite(values)
    if known.all():
        return np.asarray(values.mean(axis=0))
    with np.errstate(invalid="ignore"):
        means: Floats = np.where(known, values, 0.0).sum(axis=0) / known.sum(axis=0)
    return means


def load_run(path: str | Location) -> LoggedRun:
    """Read a run's ended searches.

    Raises:
        UsageError: The folder is no run, the run has no scorer, or no search of it has ended.
        HarnessError: Its log is damaged.
    """
    folder = RunFolder.existing(path)
    manifest = Manifest.read(folder.manifest)
    read_config(manifest.config)  # a foreign folder's manifest may hold anything
    damage.check(folder)
    if manifest.config["scorer"] is None:
        raise UsageError(
            f"{path} has no scorer, so there are no scores to report",
            "`python -m harness show` prints what it came to",
        )
    columns = ["prompt_id", "replicate", "draws", "rounds", "selected_index", "error"]
    searches = store.read(folder.log, "searches", columns).to_pandas()
    if searches.empty:
        raise UsageError(f"no search of {path} has ended yet", "let it run on, then report")
    searches.sort_values(["prompt_id", "replicate"], ignore_index=True, inplace=True)
    table = store.read(folder.log, "candidates", _COLUMNS)
    return _assemble(folder, manifest, searches, table)


def _assemble(
    folder: RunFolder, manifest: Manifest, searches: pd.DataFrame, table: pa.Table
) -> LoggedRun:
    ids = np.asarray(searches["prompt_id"].unique(), dtype=object)
    searches["prompt"] = np.searchsorted(ids, searches["prompt_id"].to_numpy(dtype=object))
    row, kept, prompts = _rows_of(folder, manifest, searches, table, ids)
    if len(kept) != len(table) or (np.diff(kept) != 1).any():
        table = table.take(pa.array(kept))  # a finished run's log is in order and complete
    counts = np.bincount(row, minlength=len(searches))
    column = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    shape = (len(searches), int(counts.max(initial=1)))

    def matrix(values: npt.NDArray[Number], fill: float) -> npt.NDArray[Number]:
        filled = np.full(shape, fill, dtype=values.dtype)
        filled[row, column] = values
        return filled

    judged = manifest.config["judge"]["kind"] != "none"
    failed: Bools = pc.is_in(
        table["error_role"], value_set=pa.array(["generator", "judge"])
    ).to_numpy()
    scores = pc.fill_null(table["judge_score"], float("nan")).to_numpy()
    index = matrix(_whole(table["draw_index"]), -1)
    selected = searches["selected_index"].fillna(-1).to_numpy()[:, None]
    hits = (index == selected) & (index >= 0)
    searches["selected"] = np.where(hits.any(axis=1), hits.argmax(axis=1), -1)
    return LoggedRun(
        parts=(Part(folder, manifest),),
        prompts=prompts,
        searches=searches.assign(part=0)[
            ["prompt", "part", "replicate", "draws", "rounds", "selected", "error"]
        ],
        index=index,
        answered=matrix(~failed, False),
        accepted=matrix(_flag(table["accepted"]) & ~failed, False),
        judge_score=matrix(np.where(failed | np.isnan(scores), -np.inf, scores), -np.inf),
        correct=matrix(_flag(table["correct"]), False),
        scored=matrix(pc.is_valid(table["correct"]).to_numpy(), False),
        costs={
            f"{unit}_{role}": matrix(spent(table, role, unit, judged=judged) / scale, 0.0)
            for unit, scale in UNITS.items()
            for role in ROLES
        },
        failed=matrix(pc.is_valid(table["error_role"]).to_numpy(), False),
        dependent=_dependence(searches, counts, table),
    )


def _rows_of(
    folder: RunFolder,
    manifest: Manifest,
    searches: pd.DataFrame,
    table: pa.Table,
    ids: npt.NDArray[np.object_],
) -> tuple[Ints, Ints, pd.DataFrame]:
    """Search of every row of an ended search, those rows in order, and the prompts' texts."""
    encoded = table["prompt_id"].combine_chunks().dictionary_encode()
    codes = encoded.indices.to_numpy()
    place = {name: number for number, name in enumerate(ids)}
    known = np.array([place.get(n, -1) for n in encoded.dictionary.to_pylist()], dtype=np.int64)
    prompt = known[codes] if len(known) else np.zeros(0, np.int64)
    replicate = _whole(table["replicate"])
    widest = int(max(replicate.max(initial=0), searches["replicate"].max())) + 1
    search_of = np.full((len(ids) + 1, widest), -1)
    search_of[searches["prompt"], searches["replicate"]] = np.arange(len(searches))
    row = search_of[prompt, replicate]  # an unknown prompt is -1: the spare last row
    order = np.lexsort((_whole(table["draw_index"]), row))
    kept = order[row[order] >= 0]
    first = np.full(len(ids), -1)
    first[prompt[kept][::-1]] = kept[::-1]
    texts = {
        name: [
            value if there else ""
            for value, there in zip(
                table[name].take(pa.array(np.maximum(first, 0))).to_pylist()
                if len(table)
                else [""] * len(ids),
                first >= 0,
                strict=True,
            )
        ]
        for name in ("prompt", "tag")
    }
    undrawn = undrawn_prompts(folder, manifest, {str(name) for name in ids[first < 0]})
    for number in np.flatnonzero(first < 0):
        if (prompt_of := undrawn.get(str(ids[number]))) is not None:
            texts["prompt"][number], texts["tag"][number] = prompt_of.text, prompt_of.tag
    return row[kept], kept, pd.DataFrame({"prompt_id": ids, **texts})


def _dependence(searches: pd.DataFrame, counts: Ints, table: pa.Table) -> str:
    if (searches["rounds"] > 1).any():
        return "draws were asked for in several rounds, so later ones hang on earlier answers"
    if pc.sum(pc.list_value_length(table["feedback"])).as_py():
        return "draws are conditioned on feedback"
    if table["text"].null_count < len(table):
        return "draws have rewritten prompts"
    if len(pc.unique(table["settings"])) > 1:
        return "draws have different sampler settings"
    if len(np.unique(counts[counts > 0])) > 1:
        return "searches made different numbers of draws"
    return ""


def _whole(column: pa.ChunkedArray) -> Ints:
    numbers: Ints = column.to_numpy().astype(np.int64)
    return numbers


def _flag(column: pa.ChunkedArray) -> Bools:
    flags: Bools = pc.fill_null(column, False).to_numpy()
    return flags
