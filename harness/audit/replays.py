"""Every search driven again against the log, by the strategy that the config names.

Only what a strategy may see is read from the log: its own draws and the judge's verdicts. The
columns of the scorer are not, so a decision that a replay repeats was made without them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.audit.result import CannotCheck
from harness.audit.subject import Row, Subject
from harness.engine.rows import logged_candidate
from harness.engine.searches import Search, SearchKey
from harness.records import Draw, Prompt
from harness.seeds import canonical_json

SEEN_BY_STRATEGIES = (
    "prompt",
    "tag",
    "draw_id",
    "text",
    "settings",
    "feedback",
    "image",
    "accepted",
    "judge_score",
    "judge_sentence",
    "error_role",
    "error",
    "round",
)
"""Columns that a replay reads. (What failed by the scorer alone is not told to a strategy.)"""


@dataclass(frozen=True)
class Replayed:
    """One search as the strategy does it.

    Attributes:
        asked: Indices of the draws it asked for and the log holds, in its order.
        unknown: The draw it asked for that the log does not hold, or None.
        why: What differs in the log's draw of that index; "" if there is none.
        surplus: Indices of logged draws that it never asked for.
        rounds: Rounds it asked in.
        selected: Index of what it selected, or None.
        error: How it failed, or None.
    """

    asked: tuple[int, ...]
    unknown: int | None
    why: str
    surplus: tuple[int, ...]
    rounds: int
    selected: int | None
    error: str | None


def replay(subject: Subject) -> Mapping[SearchKey, Replayed]:
    """Replay all searches of a run, once; later calls get the same.

    Raises:
        CannotCheck: The strategy is not here, or the log cannot be read.
    """
    if subject.replays is None:
        strategy = subject.strategy
        subject.replays = {
            key: drive(
                Search(
                    strategy,
                    prompt,
                    key.replicate,
                    budget=subject.config.budget,
                    run_seed=subject.config.seed,
                ),
                rows,
            )
            for key, prompt, rows in _searches(subject)
        }
    return subject.replays


def _searches(subject: Subject) -> Iterator[tuple[SearchKey, Prompt, Sequence[Row]]]:
    try:
        texts = {prompt.id: prompt.text for prompt in subject.prompts}
    except CannotCheck:
        texts = {}
    seen = set()
    for key, rows in subject.by_search(SEEN_BY_STRATEGIES):
        seen.add(key)
        text = str(texts.get(key.prompt_id, rows[0]["prompt"]))
        yield key, Prompt(key.prompt_id, text, str(rows[0]["tag"])), rows
    for key in subject.searches.keys() - seen:
        yield key, Prompt(key.prompt_id, str(texts.get(key.prompt_id, ""))), ()


def drive(search: Search, rows: Sequence[Row]) -> Replayed:
    """Answer a search from its logged rows as far as they go."""
    logged = {row["draw_index"]: row for row in rows}
    asked: list[int] = []
    unknown, why = None, ""
    waiting = list(search.start())
    while waiting:
        draw = waiting.pop(0)
        row = logged.get(draw.index)
        why = _unlike(draw, row, search.rounds) if row is not None else ""
        if row is None or why:
            unknown = draw.index
            break
        asked.append(draw.index)
        waiting += search.answer(logged_candidate(row, draw))
    selected = search.selected.draw.index if search.selected is not None else None
    surplus = tuple(sorted(logged.keys() - set(asked) - {unknown}))
    return Replayed(tuple(asked), unknown, why, surplus, search.rounds, selected, search.error)


def _unlike(draw: Draw, row: Row, round: int) -> str:
    feedback = [(f.draw_id, f.sentence) for f in draw.feedback]
    told = [(f["draw_id"], f["sentence"]) for f in row["feedback"] or []]
    differences = {
        "text": draw.text == row["text"],
        "settings": canonical_json(dict(draw.settings)) == row["settings"],
        "feedback": feedback == told,
        "round": row["round"] in (None, round),  # logs did not always have it
    }
    return ", ".join(name for name, same in differences.items() if not same)
