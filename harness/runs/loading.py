"""Reads a run's log into arrays, and says so where there is nothing to read scores from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from harness.config import read_config
from harness.errors import HarnessError, UsageError
from harness.log import store
from harness.log.costs import REPLIES, charged, padded, spent
from harness.log.frame import load_searches
from harness.log.grades import GRADE, graded
from harness.log.location import Location
from harness.log.manifest import Manifest
from harness.log.measured import measured_later
from harness.log.run_folder import RunFolder
from harness.log.schema import ROLES, UNITS
from harness.models.metrics.together import metric_names
from harness.prompts import read_prompts
from harness.runs.logged_run import (
    COST_AXES,
    FILLS,
    PADDED,
    LoggedRun,
    Part,
)
from harness.statistics.intervals import Bools, Ints

COLUMNS = (
    "prompt_id", "prompt", "tag", "replicate", "draw_index", "text", "settings", "feedback",
    "noise_turns", "stop", "round", "accepted", "judge_score", "judge_members", *GRADE, "metrics",
    "image", "error_role", *(f"{role}_{unit}" for role in ROLES for unit in UNITS),
)  # fmt: skip
"""Columns of candidates that are read."""

_SEARCHES = ["prompt", "part", "replicate", "draws", "rounds", "selected", "error"]

Number = TypeVar("Number", np.bool_, np.int64, np.float64)

MOST_PLACES = 50_000_000
"""Searches times draws of the longest that are read into arrays."""


def load_run(path: str | Location) -> LoggedRun:
    """Read a run's ended searches.

    Raises:
        UsageError: The folder is no run, the run has no scorer, or no search of it has ended.
        HarnessError: Its log is damaged.
    """
    folder = RunFolder.existing(path)
    manifest = Manifest.read(folder.manifest)
    read_config(manifest.config)  # a manifest from elsewhere may hold anything
    if manifest.config["scorer"] is None:
        raise UsageError(
            f"{path} has no scorer, so there are no scores to report",
            "`python -m harness show` prints what it came to",
        )
    run = ended(folder, manifest)
    if run is None:
        raise UsageError(f"no search of {path} has ended yet", "let it run on, then report")
    return run


def ended(folder: RunFolder, manifest: Manifest) -> LoggedRun | None:
    """Return the ended searches of a run, with a scorer or without; None if there are none.

    Raises:
        HarnessError: Its log is damaged.
    """
    searches = load_searches(folder.path)
    if searches.empty:
        return None
    table = store.read(folder.log, "candidates", COLUMNS)
    replies = store.read(folder.log, "replies", REPLIES)
    return assemble(folder, manifest, searches, table, replies)


def assemble(
    folder: RunFolder,
    manifest: Manifest,
    searches: pd.DataFrame,
    table: pa.Table,
    replies: pa.Table,
) -> LoggedRun:
    """Return the rows of a log as arrays.

    Args:
        folder: The run's.
        manifest: Its manifest.
        searches: Rows of ended searches, in order of their keys; columns are added to it.
        table: Candidates.
        replies: What the judge replied.

    Raises:
        HarnessError: The log is too large, or prompts without draws cannot be named.
    """
    ids = np.asarray(searches["prompt_id"].unique(), dtype=object)
    searches["prompt"] = np.searchsorted(ids, searches["prompt_id"].to_numpy(dtype=object))
    row, order, prompts = _rows_of(folder, manifest, searches, table, ids)
    if len(order) != len(table) or (np.diff(order) != 1).any():
        table = table.take(pa.array(order))  # a finished run's log is in order and complete
    counts = np.bincount(row, minlength=len(searches))
    column = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    shape = (len(searches), int(counts.max(initial=1)))
    if shape[0] * shape[1] > MOST_PLACES:
        raise HarnessError(
            f"the log of {folder.path} has {shape[0]} searches, one of them of {shape[1]} draws, "
            f"which is more than the {MOST_PLACES} places that a table of both may have"
        )

    def matrix(values: npt.NDArray[Number], fill: float) -> npt.NDArray[Number]:
        filled = np.full(shape, fill, dtype=values.dtype)
        filled[row, column] = values
        return filled

    judged = manifest.judged
    failed: Bools = pc.is_in(
        table["error_role"], value_set=pa.array(["generator", "judge"])
    ).to_numpy()
    scores = pc.fill_null(table["judge_score"], float("nan")).to_numpy()
    ranks_within = table["judge_members"].null_count < len(table)
    if ranks_within:
        scores = _standing(table["judge_members"], row)
    index = matrix(_whole(table["draw_index"]), -1)
    selected = searches["selected_index"].fillna(-1).to_numpy()[:, None]
    hits = (index == selected) & (index >= 0)
    searches["selected"] = np.where(hits.any(axis=1), hits.argmax(axis=1), -1)
    arrays = {
        "answered": ~failed,
        "accepted": _flag(table["accepted"]) & ~failed,
        "with_feedback": _counts(table["feedback"]) > 0,
        "judge_score": np.where(failed | np.isnan(scores), -np.inf, scores),
        "correct": _flag(table["correct"]),
        "value": pc.fill_null(graded(table), 0.0).to_numpy(),
        "scored": pc.is_valid(table["correct"]).to_numpy(),
        "failed": pc.is_valid(table["error_role"]).to_numpy(),
    }
    return LoggedRun(
        parts=(Part(folder, manifest),),
        prompts=prompts,
        searches=searches.assign(part=0)[_SEARCHES],
        index=index,
        costs={name: matrix(values, 0.0) for name, values in _costs(table, replies, judged)},
        metrics={
            name: matrix(values, np.nan)
            for name, values in _metrics(folder, manifest, table).items()
        },
        dependent=_dependence(searches, counts, table),
        ranks_within=ranks_within,
        **{name: matrix(values, FILLS[name]) for name, values in arrays.items()},
    )


def _standing(members: pa.ChunkedArray, row: Ints) -> npt.NDArray[np.float64]:
    """Return the mean share of its search's images that each is no worse than; NaN without any.

    Args:
        members: What the judge's members give each draw.
        row: Search of each draw, ascending.

    Raises:
        HarnessError: Draws have different numbers of members.
    """
    from scipy.stats import rankdata  # half a second of imports, for judges that rank alone

    standing = np.full(len(row), np.nan)
    known = np.flatnonzero(pc.is_valid(members).to_numpy())
    try:
        values = np.array(members.drop_null().to_pylist(), float)
    except ValueError as error:
        raise HarnessError("the log's judge_members are not of equal lengths") from error
    starts = np.flatnonzero(np.diff(row[known], prepend=-1))
    for own in np.split(np.arange(len(known)), starts[1:]):
        standing[known[own]] = rankdata(values[own], axis=0).mean(axis=1) / len(own)
    return standing


def _metrics(
    folder: RunFolder, manifest: Manifest, table: pa.Table
) -> dict[str, npt.NDArray[np.float64]]:
    """Return each metric's value of every draw, NaN where it has none; later ones included."""
    later = measured_later(folder)
    names = dict.fromkeys(metric_names(read_config(manifest.config).metric))
    names |= dict.fromkeys(sorted({name for values in later.values() for name in values}))
    if not names:
        return {}
    metrics = table["metrics"].combine_chunks()
    ends = metrics.offsets.to_numpy()
    row = np.repeat(np.arange(len(metrics)), np.diff(ends))
    keys, items = (of.slice(ends[0], ends[-1] - ends[0]) for of in (metrics.keys, metrics.items))
    values = {name: np.full(len(metrics), np.nan) for name in names}
    for name, of in values.items():
        own = np.asarray(pc.equal(keys, name))
        of[row[own]] = pc.fill_null(items, float("nan")).to_numpy()[own]
    if later:
        shown = zip(table["prompt_id"].to_pylist(), table["image"].to_pylist(), strict=True)
        for place, each in enumerate(shown):
            for name, value in later.get(each, {}).items():
                values[name][place] = value
    return values


def _costs(
    table: pa.Table, replies: pa.Table, judged: bool
) -> Iterator[tuple[str, npt.NDArray[np.float64]]]:
    """Yield each role's cost of every draw in each unit; the judge's with its replies."""
    by_draw = charged(table, replies)
    for role in ROLES:
        extra = by_draw if role == "judge" else {}
        for axis, (unit, scale) in COST_AXES.items():
            cost = spent(table, role, unit, judged=judged)
            yield f"{axis}_{role}", (cost + extra[unit] if extra else cost) / scale
        tokens = spent(table, role, "tokens", judged=judged)
        calls = np.where(np.isnan(tokens), np.nan, tokens > 0)
        yield f"tokens_{role}", tokens + extra["tokens"] if extra else tokens
        yield f"calls_{role}", calls + extra["calls"] if extra else calls
        cost = padded(table, role, judged=judged)
        total = cost + extra["padded_flops"] if extra else cost
        yield f"{PADDED}_{role}", total / COST_AXES["tflops"][1]


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
    # One number for prompt and replicate; searches are in order of it.
    widest = int(max(replicate.max(initial=0), searches["replicate"].max())) + 1
    names = searches["prompt"].to_numpy() * widest + searches["replicate"].to_numpy()
    search = np.where(prompt >= 0, prompt * widest + replicate, -1)
    nearest = np.searchsorted(names, search, side="right") - 1
    row = np.where((nearest >= 0) & (names[nearest] == search), nearest, -1)
    order = np.lexsort((_whole(table["draw_index"]), row))
    order = order[row[order] >= 0]
    first = np.full(len(ids), -1)
    first[prompt[order][::-1]] = order[::-1]
    texts = {}
    for name in ("prompt", "tag"):
        texts[name] = np.full(len(ids), "", dtype=object)
        texts[name][first >= 0] = table[name].take(pa.array(first[first >= 0])).to_pylist()
    # A search that failed before its first draw has no row to name its prompt. Without its name it
    # would make a tag of its own and be missing from comparisons, which would reward failing.
    unnamed = np.flatnonzero(first < 0)
    prompts = read_prompts(folder, manifest) if len(unnamed) else []
    without_draws = {prompt.id: prompt for prompt in prompts}
    for number in unnamed:
        if (prompt_of := without_draws.get(str(ids[number]))) is not None:
            texts["prompt"][number], texts["tag"][number] = prompt_of.text, prompt_of.tag
    names_of = {name: column.tolist() for name, column in texts.items()}
    return row[order], order, pd.DataFrame({"prompt_id": ids, **names_of})


def _dependence(searches: pd.DataFrame, counts: Ints, table: pa.Table) -> str:
    if (searches["rounds"] > 1).any():
        return "draws were asked for in several rounds, so later ones hang on earlier answers"
    if pc.sum(pc.list_value_length(table["feedback"])).as_py():
        return "draws are conditioned on feedback"
    if table["text"].null_count < len(table):
        return "draws have rewritten prompts"
    if len(pc.unique(table["settings"])) > 1:
        return "draws have different sampler settings"
    if table["stop"].null_count < len(table):
        return "draws stopped before their last step"
    if table["noise_turns"].null_count < len(table):
        return "draws have noise near that of others"
    if len(np.unique(counts[counts > 0])) > 1:
        return "searches made different numbers of draws"
    return ""


def _whole(column: pa.ChunkedArray) -> Ints:
    numbers: Ints = column.to_numpy().astype(np.int64)
    return numbers


def _counts(lists: pa.ChunkedArray) -> Ints:
    return _whole(pc.fill_null(pc.list_value_length(lists), 0))


def _flag(column: pa.ChunkedArray) -> Bools:
    flags: Bools = pc.fill_null(column, False).to_numpy()
    return flags
