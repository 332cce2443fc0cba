"""The gallery: for chosen prompts, what each run drew, was told, and took."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow.compute as pc

from harness.analysis.comparison import prompt_keys
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
    "unscored": "selected image has no score",
    "failed": "search failed",
}

_COLUMNS = ["prompt_id", "replicate", "draw_index", "draw_id", "text", "feedback", "image",
            "accepted", "judge_score", "judge_sentence", "correct", "reason", "detections",
            "error"]  # fmt: skip


@dataclass(frozen=True)
class Shot:
    """One draw as shown."""

    index: int
    image: str
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
    cost: str


@dataclass(frozen=True)
class Chain:
    """One run's search as shown.

    Attributes:
        run: What the run is called.
        number: Which of the runs shown it is.
        search: Which of the run's searches of this prompt, in words; "" if there is only one.
        first: Whether it is the first of them: the others stay folded until asked for.
        unseen: Searches of the prompt that are not shown at all, said at the last one shown.
        outcome: One of `OUTCOMES`.
        shots: Its draws as shown.
        hidden: Draws not shown.
        draws: All draws.
    """

    run: str
    number: int
    search: str
    first: bool
    unseen: int
    outcome: str
    shots: list[Shot]
    hidden: int
    draws: int


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

    A prompt is named as `harness.analysis.comparison.prompt_keys` does: where runs are over unlike
    prompts, those that one run alone has are chosen from too.

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
    keys = prompt_keys([of.run for of in curves])
    ids = sorted({key for of_run in keys for key in of_run})
    place = {name: number for number, name in enumerate(ids)}
    sums = np.zeros((3, len(ids)))
    for of, of_run in zip(curves, keys, strict=True):
        rows = [place[name] for name in of_run]
        answered = of.own.scores[:, np.isfinite(of.own.scores).any(axis=0)]
        if not answered.shape[1]:
            continue
        ends = answered[:, [-1, 0]]
        known = np.isfinite(ends).all(axis=1)
        sums[:2, rows] += np.where(known, ends.T, 0.0)
        sums[2, rows] += known
    with np.errstate(invalid="ignore"):
        # Prompts without a score are NaN, and last in every order.
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
    runs: Sequence[LoggedRun],
    names: Sequence[str],
    chosen: Mapping[str, Sequence[str]],
    *,
    searches: int = 4,
) -> list[Card]:
    """The gallery's cards for chosen prompts.

    Args:
        runs: The runs.
        names: What each is called.
        chosen: Prompts and what each was chosen for, as `choose` gives them.
        searches: The most searches of a prompt and run: by ascending seed, then replicate.

    Raises:
        HarnessError: A log is damaged.
    """
    found: dict[str, Card] = {}
    for place, (run, name, keys) in enumerate(zip(runs, names, prompt_keys(runs), strict=True)):
        numbers = np.flatnonzero(keys.isin(list(chosen)))
        prompt_of = run.searches["prompt"].to_numpy()
        ended = {int(n): np.flatnonzero(prompt_of == n).tolist() for n in numbers}
        shown = {s: _shown(run, s) for all_of in ended.values() for s in all_of[:searches]}
        rows = _rows(run, shown)
        for number, all_of in ended.items():
            facts = run.prompts.iloc[number]
            key = str(keys[number])
            card = found.setdefault(
                key,
                Card(str(facts["prompt_id"]), facts["prompt"], facts["tag"], list(chosen[key])),
            )
            taken = all_of[:searches]
            for search in taken:
                unseen = len(all_of) - len(taken) if search == taken[-1] else 0
                card.chains.append(
                    _chain(run, name, place, search, rows[search], search == taken[0], unseen)
                )
    return [found[key] for key in chosen if key in found]


def _rows(run: LoggedRun, shown: Mapping[int, list[int]]) -> dict[int, list[dict[str, Any]]]:
    """The log's rows of some searches' draws: read narrowly, since logs may be long."""
    keys = run.searches.loc[list(shown), ["prompt", "part", "replicate"]]
    ids = run.prompts["prompt_id"].to_numpy()
    found: dict[int, list[dict[str, Any]]] = {search: [] for search in shown}
    for number, part in enumerate(run.parts):
        of_part = keys[keys["part"] == number]
        search_of = {
            (str(ids[prompt]), int(replicate)): int(search)
            for search, prompt, replicate in zip(
                of_part.index, of_part["prompt"], of_part["replicate"], strict=True
            )
        }
        indices = sorted({i for search in search_of.values() for i in shown[search]})
        if not indices:  # it has none of the prompts, or drew nothing for them
            continue
        where = (
            pc.field("prompt_id").isin(sorted({key[0] for key in search_of}))
            & pc.field("replicate").isin(sorted({key[1] for key in search_of}))
            & pc.field("draw_index").isin(indices)
        )
        table = store.read(part.folder.log, "candidates", _COLUMNS, where)
        for row in table.sort_by("draw_index").to_pylist():
            search = search_of.get((row["prompt_id"], row["replicate"]))
            if search is not None and row["draw_index"] in shown[search]:
                found[search].append(row)
    return found


def _chain(
    run: LoggedRun,
    name: str,
    place: int,
    search: int,
    rows: list[dict[str, Any]],
    first: bool,
    unseen: int,
) -> Chain:
    facts = run.searches.iloc[search]
    column, part = int(facts["selected"]), run.parts[int(facts["part"])]
    selected = int(run.index[search, column]) if column >= 0 else -1
    draws = int((run.index[search] >= 0).sum())
    numbers = {row["draw_id"]: row["draw_index"] for row in rows}
    replicates = run.manifest.config["replicates"]
    words = [
        *([f"seed {part.seed}"] if len(run.parts) > 1 else []),
        *([f"image {int(facts['replicate']) + 1} of {replicates}"] if replicates > 1 else []),
    ]
    return Chain(
        run=name,
        number=place,
        search=", ".join(words),
        first=first,
        unseen=unseen,
        outcome=outcome_of(run, search, column),
        shots=[_shot(run, search, row, selected, part.folder.images, numbers) for row in rows],
        hidden=draws - len(rows),
        draws=draws,
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


def outcome_of(run: LoggedRun, search: int, selected: int) -> str:
    """Return what a search came to, one of `OUTCOMES`.

    Args:
        run: The run.
        search: Number of the search.
        selected: Column of the draw it selected, or -1.
    """
    if selected < 0:
        return "failed"
    if not run.scored[search, selected]:
        return "unscored"
    if run.correct[search, selected]:
        return "correct"
    if run.accepted[search, selected]:
        return "fooled"
    return "missed" if run.correct[search].any() else "none"


def _shot(
    run: LoggedRun,
    search: int,
    row: dict[str, Any],
    selected: int,
    images: Any,
    numbers: Mapping[str, int],
) -> Shot:
    return Shot(
        index=row["draw_index"],
        image=row["image"] or "",
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
        cost=_cost(run, search, row["draw_index"]),
    )


def _cost(run: LoggedRun, search: int, index: int) -> str:
    column = int(np.flatnonzero(run.index[search] == index)[0])
    words = {"tflops": ("TFLOPs", "FLOPs not counted"), "device_seconds": ("device-s", "")}
    spent = {
        axis: sum(run.costs[f"{axis}_{role}"][search, column] for role in ROLES) for axis in words
    }
    parts = [
        f"{spent[axis]:.3g} {name}" if np.isfinite(spent[axis]) else unknown
        for axis, (name, unknown) in words.items()
    ]
    return ", ".join(filter(None, parts))
