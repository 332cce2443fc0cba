"""Searches as people look at them: each draw's image, what the judge said of it, the next image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow.compute as pc

from harness.analysis.comparison import prompt_keys
from harness.log import store
from harness.log.schema import ROLES
from harness.report.thumbnails import Box, Thumbnail, boxes, thumbnail
from harness.runs.logged_run import LoggedRun

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

PAIRS = {
    "first": "A right, B wrong",
    "second": "B right, A wrong",
    "both": "both right",
    "neither": "neither, or no difference",
}
"""What a prompt may have come to in two runs; with several searches, who is right more often."""

_COLUMNS = ["prompt_id", "replicate", "draw_index", "draw_id", "text", "feedback", "image",
            "accepted", "judge_score", "judge_sentence", "correct", "reason", "detections",
            "answers", "error"]  # fmt: skip


@dataclass(frozen=True)
class Shot:
    """One draw as shown.

    Attributes:
        row: Of the log: `_COLUMNS`.
        feedback: Indices of the earlier draws whose rejection it was given.
        is_used: Whether a later draw was given feedback on it.
        answers: What the scorer's model answered to each question, as text.
    """

    row: Mapping[str, Any]
    thumbnail: Thumbnail
    boxes: list[Box]
    selected: bool
    feedback: list[int]
    is_used: bool
    answers: list[str]
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
        draws: How many it has, shown or not.
    """

    run: str
    number: int
    search: str
    first: bool
    unseen: int
    outcome: str
    shots: list[Shot]
    draws: int

    @property
    def hidden(self) -> int:
        """Draws that are not shown."""
        return self.draws - len(self.shots)

    @property
    def has_images(self) -> bool:
        """True if the run was to keep an image of any draw shown."""
        return any(not shot.thumbnail.dropped for shot in self.shots)

    @property
    def has_feedback(self) -> bool:
        """True if any draw shown was given feedback."""
        return any(shot.feedback for shot in self.shots)


@dataclass(frozen=True)
class Card:
    """One prompt of the gallery with its searches.

    Attributes:
        chosen: What it was chosen for.
        scores: Its score in each run, by the run's number; None where unknown.
    """

    prompt_id: str
    prompt: str
    tag: str
    chosen: list[str]
    chains: list[Chain] = field(default_factory=list)
    scores: dict[int, float | None] = field(default_factory=dict)


def cards(
    runs: Sequence[LoggedRun],
    names: Sequence[str],
    chosen: Mapping[str, Sequence[str]],
    *,
    searches: int = 4,
) -> list[Card]:
    """Return the gallery's cards for chosen prompts.

    Args:
        runs: The runs.
        names: What each is called.
        chosen: Prompts and what each was chosen for, as `harness.report.gallery.choose` gives them.
        searches: The most searches of a prompt and run: by ascending seed, then replicate.

    Raises:
        HarnessError: A log is damaged.
    """
    result: dict[str, Card] = {}
    for place, (run, name, keys) in enumerate(zip(runs, names, prompt_keys(runs), strict=True)):
        numbers = np.flatnonzero(keys.isin(list(chosen)))
        prompt_of, scores = run.searches["prompt"].to_numpy(), run.scores()
        ended = {int(n): np.flatnonzero(prompt_of == n).tolist() for n in numbers}
        shown = {s: _shown(run, s) for of_prompt in ended.values() for s in of_prompt[:searches]}
        rows = _rows(run, shown)
        for number, of_prompt in ended.items():
            facts, key = run.prompts.iloc[number], str(keys[number])
            card = result.setdefault(
                key,
                Card(str(facts["prompt_id"]), facts["prompt"], facts["tag"], list(chosen[key])),
            )
            card.scores[place] = float(scores[number]) if np.isfinite(scores[number]) else None
            for search in (first_ones := of_prompt[:searches]):
                is_first = search == first_ones[0]
                unseen = len(of_prompt) - len(first_ones) if search == first_ones[-1] else 0
                card.chains.append(_chain(run, name, place, search, rows[search], is_first, unseen))
    return [result[key] for key in chosen if key in result]


def _rows(run: LoggedRun, shown: Mapping[int, list[int]]) -> dict[int, list[dict[str, Any]]]:
    """Return the log's rows of some searches' draws: read narrowly, since logs may be long."""
    keys = run.searches.loc[list(shown), ["prompt", "part", "replicate"]]
    ids = run.prompts["prompt_id"].to_numpy()
    rows: dict[int, list[dict[str, Any]]] = {search: [] for search in shown}
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
                rows[search].append(row)
    return rows


def _shown(run: LoggedRun, search: int) -> list[int]:
    """Return which draws to show by index: all of a few, else those that explain the outcome."""
    made = np.flatnonzero(run.index[search] >= 0)
    most = CHAIN if run.dependent else INDEPENDENT
    # The selected draw, a correct one, the judge's favourites; then the first ones.
    order = [
        int(run.searches["selected"].iloc[search]),
        *np.flatnonzero(run.correct[search])[:1].tolist(),
        *np.argsort(-run.judge_score[search], kind="stable")[: most // 2].tolist(),
        *made.tolist(),
    ]
    columns = set(made.tolist())
    first_ones = [column for column in dict.fromkeys(order) if column in columns][:most]
    return sorted(run.index[search, first_ones].tolist())


def outcome_of(run: LoggedRun, search: int, selected: int) -> str:
    """Return what a search came to, of `OUTCOMES`, by the column of the draw it selected, or -1."""
    if selected < 0:
        return "failed"
    if not run.scored[search, selected]:
        return "unscored"
    if run.correct[search, selected]:
        return "correct"
    if run.accepted[search, selected]:
        return "fooled"
    return "missed" if run.correct[search].any() else "none"


def pair_of(first: float, second: float) -> str:
    """Return what a prompt came to in two runs by its scores, of `PAIRS`; "" if one is unknown."""
    if first > second:
        return "first"
    if second > first:
        return "second"
    return "both" if first == second == 1 else "neither" if first == second else ""


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
    replicates = run.manifest.config["replicates"]
    words = [
        *([f"seed {part.seed}"] if len(run.parts) > 1 else []),
        *([f"image {int(facts['replicate']) + 1} of {replicates}"] if replicates > 1 else []),
    ]
    numbers = {row["draw_id"]: row["draw_index"] for row in rows}
    feedback = [
        [numbers[f["draw_id"]] for f in row["feedback"] or [] if f["draw_id"] in numbers]
        for row in rows
    ]
    used = {index for indices in feedback for index in indices}
    thumbnails = [thumbnail(part.folder.images, row["image"]) for row in rows]
    return Chain(
        run=name,
        number=place,
        search=", ".join(words),
        first=first,
        unseen=unseen,
        outcome=outcome_of(run, search, column),
        shots=[
            Shot(
                row=row,
                thumbnail=picture,
                boxes=boxes(row["detections"], picture.width, picture.height),
                selected=row["draw_index"] == selected,
                feedback=indices,
                is_used=row["draw_index"] in used,
                answers=[_answer(answer) for answer in row["answers"] or []],
                cost=_cost(run, search, row["draw_index"]),
            )
            for row, indices, picture in zip(rows, feedback, thumbnails, strict=True)
        ],
        draws=int((run.index[search] >= 0).sum()),
    )


def _answer(answer: Mapping[str, Any]) -> str:
    chance = answer["probability"]
    reply = answer["answer"] or ("" if chance is None else f"{answer['expected']} {chance:.2f}")
    return f"{answer['question']} {reply}"


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
