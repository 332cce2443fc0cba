"""The gallery: for chosen prompts, what each run drew, was told, and took."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow.compute as pc

from harness.analysis.curves import RunCurves
from harness.analysis.logged_run import LoggedRun
from harness.errors import UsageError, did_you_mean
from harness.log import store
from harness.log.schema import ROLES
from harness.report.thumbnails import Box, Thumbnail, boxes, thumbnail

CHOICES = ("worst", "best", "gain", "random")
CHAIN = 24
"""The most draws shown of a search whose draws build on each other."""
INDEPENDENT = 8
"""The most draws shown of a search whose draws do not."""

OUTCOMES = {
    "correct": "selected image is correct",
    "fooled": "wrong, though the judge accepted it",
    "missed": "wrong, though another draw was correct",
    "none": "wrong, and so was every draw",
    "failed": "search failed",
}

_COLUMNS = ["prompt_id", "replicate", "draw_index", "draw_id", "text", "feedback", "image",
            "accepted", "judge_score", "judge_sentence", "correct", "reason", "detections",
            "error", *(f"{role}_{unit}" for role in ROLES
                       for unit in ("flops", "device_seconds"))]  # fmt: skip


@dataclass(frozen=True)
class Shot:
    """One draw as shown."""

    index: int
    thumbnail: Thumbnail
    boxes: list[Box]
    selected: bool
    accepted: bool | None
    judge_score: float | None
    sentence: str
    correct: bool | None
    reason: str
    error: str
    text: str
    told: list[int]
    tflops: float
    seconds: float


@dataclass(frozen=True)
class Chain:
    """One run's search as shown."""

    run: str
    outcome: str
    shots: list[Shot]
    hidden: int
    draws: int
    replicates: int


@dataclass(frozen=True)
class Card:
    """One prompt of the gallery."""

    prompt_id: str
    prompt: str
    tag: str
    chosen: list[str]
    chains: list[Chain] = field(default_factory=list)

    @property
    def outcomes(self) -> list[str]:
        """Outcomes of its chains, each once."""
        return sorted({chain.outcome for chain in self.chains})


def choose(
    curves: Sequence[RunCurves], choices: Sequence[str], *, size: int = 6, seed: int = 0
) -> dict[str, list[str]]:
    """Prompts for the gallery and what each was chosen for, in order of choice.

    Scores are means over the runs at their largest budgets; gain is against the smallest.
    Among equals, those whose single draws are worst (for "best": most often wrong, so that the
    search mattered) come first, then any, by seed.

    Args:
        curves: Of each run.
        choices: Of "worst", "best", "gain", "random"; or "all".
        size: Prompts for each choice.
        seed: Of "random" and of ties.

    Raises:
        UsageError: An unknown choice.
    """
    for choice in choices:
        if choice not in (*CHOICES, "all", "none"):
            raise UsageError(
                f"the gallery knows no '{choice}'", did_you_mean(choice, (*CHOICES, "all", "none"))
            )
    ids = sorted({i for c in curves for i in c.run.prompts["prompt_id"]})
    place = {name: number for number, name in enumerate(ids)}
    sums = np.zeros((3, len(ids)))
    for of in curves:
        rows = [place[name] for name in of.run.prompts["prompt_id"]]
        known = of.own.scores[:, np.isfinite(of.own.scores[0])]
        sums[0, rows] += known[:, -1]
        sums[1, rows] += known[:, 0]
        sums[2, rows] += 1
    last, first = sums[0] / sums[2], sums[1] / sums[2]
    shuffled = np.random.default_rng([seed, 2]).random(len(ids))
    orders = {
        "worst": np.lexsort((shuffled, first, last)),
        "best": np.lexsort((shuffled, first, -last)),
        "gain": np.lexsort((shuffled, first - last)),
        "random": np.argsort(shuffled),
        "all": np.arange(len(ids)),
        "none": np.arange(0),
    }
    found: defaultdict[str, list[str]] = defaultdict(list)
    for choice in choices:
        for number in orders[choice][: None if choice == "all" else size]:
            found[ids[number]].append({"gain": "largest gain"}.get(choice, choice))
    return dict(found)


def cards(
    runs: Sequence[LoggedRun], names: Sequence[str], chosen: Mapping[str, Sequence[str]]
) -> list[Card]:
    """The gallery's cards for chosen prompts, first replicate of each search.

    Raises:
        HarnessError: A log is damaged.
    """
    found: dict[str, Card] = {}
    for run, name in zip(runs, names, strict=True):
        numbers = np.flatnonzero(run.prompts["prompt_id"].isin(list(chosen)).to_numpy())
        opening = np.flatnonzero(run.searches["replicate"].to_numpy() == 0)
        rows_of = dict(zip(run.searches["prompt"].to_numpy()[opening], opening, strict=True))
        searches = {int(n): int(rows_of[n]) for n in numbers if n in rows_of}
        shown = {n: _shown(run, search) for n, search in searches.items()}
        rows = _rows(run, shown)
        for number, search in searches.items():
            row = run.prompts.iloc[number]
            key = str(row["prompt_id"])
            card = found.setdefault(key, Card(key, row["prompt"], row["tag"], list(chosen[key])))
            card.chains.append(_chain(run, name, search, rows[key]))
    return [found[key] for key in chosen if key in found]


def _rows(run: LoggedRun, shown: Mapping[int, list[int]]) -> dict[str, list[dict[str, Any]]]:
    """The log's rows of some draws by prompt: read narrowly, since logs may be long."""
    ids = {number: str(run.prompts["prompt_id"].iloc[number]) for number in shown}
    found: dict[str, list[dict[str, Any]]] = {key: [] for key in ids.values()}
    where = (
        pc.field("prompt_id").isin(list(ids.values()))
        & (pc.field("replicate") == 0)
        & pc.field("draw_index").isin(sorted({i for indices in shown.values() for i in indices}))
    )
    wanted = {(ids[number], index) for number, indices in shown.items() for index in indices}
    table = store.read(run.folder.log, "candidates", _COLUMNS, where)
    for row in table.sort_by("draw_index").to_pylist():
        if (row["prompt_id"], row["draw_index"]) in wanted:
            found[row["prompt_id"]].append(row)
    return found


def _chain(run: LoggedRun, name: str, search: int, rows: list[dict[str, Any]]) -> Chain:
    column = int(run.searches["selected"].iloc[search])
    selected = int(run.index[search, column]) if column >= 0 else -1
    draws = int((run.index[search] >= 0).sum())
    numbers = {row["draw_id"]: row["draw_index"] for row in rows}
    images = run.folder.images
    return Chain(
        run=name,
        outcome=_outcome(run, search, column),
        shots=[_shot(row, selected, images, numbers) for row in rows],
        hidden=draws - len(rows),
        draws=draws,
        replicates=run.manifest.config["replicates"],
    )


def _shown(run: LoggedRun, search: int) -> list[int]:
    """Indices of the draws to show: all of a few, else those that explain the outcome."""
    made = np.flatnonzero(run.index[search] >= 0)
    most = CHAIN if run.dependent else INDEPENDENT
    # The selected draw, a correct one, the judge's favourites; then the first ones.
    order = [
        int(run.searches["selected"].iloc[search]),
        *np.flatnonzero(run.correct[search])[:1].tolist(),
        *np.argsort(-run.judge_score[search], kind="stable")[: most // 2].tolist(),
        *made.tolist(),
    ]
    there = set(made.tolist())
    kept = [column for column in dict.fromkeys(order) if column in there][:most]
    return sorted(run.index[search, kept].tolist())


def _outcome(run: LoggedRun, search: int, selected: int) -> str:
    if selected < 0:
        return "failed"
    if run.correct[search, selected]:
        return "correct"
    if run.accepted[search, selected]:
        return "fooled"
    return "missed" if run.correct[search].any() else "none"


def _shot(row: dict[str, Any], selected: int, images: Any, numbers: Mapping[str, int]) -> Shot:
    return Shot(
        index=row["draw_index"],
        thumbnail=thumbnail(images, row["image"]),
        boxes=boxes(row["detections"]),
        selected=row["draw_index"] == selected,
        accepted=row["accepted"],
        judge_score=row["judge_score"],
        sentence=row["judge_sentence"] or "",
        correct=row["correct"],
        reason=row["reason"] or "",
        error=row["error"] or "",
        text=row["text"] or "",
        told=[numbers[f["draw_id"]] for f in row["feedback"] or [] if f["draw_id"] in numbers],
        tflops=sum(row[f"{role}_flops"] or 0.0 for role in ROLES) / 1e12,
        seconds=sum(row[f"{role}_device_seconds"] or 0.0 for role in ROLES),
    )
