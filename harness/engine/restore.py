"""The log of a run's earlier sessions, as the engine needs it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from harness.engine.rows import logged_reply, logged_value, logged_verdict
from harness.engine.searches import SearchKey
from harness.engine.sources import Known, Source
from harness.errors import HarnessError
from harness.log import store
from harness.log.grades import GRADE
from harness.log.run_folder import RunFolder
from harness.log.schema import QUESTION, WHOLE_VERDICT
from harness.records import Draw, Prompt, Question, Role, Score

_NEEDED = ["prompt_id", "replicate", "tag", "draw_index", "draw_id", "image", *WHOLE_VERDICT,
           *GRADE, "error_role", "error"]  # fmt: skip

_REPLY = ["prompt_id", "replicate", *QUESTION, "reply", "error"]


@dataclass
class Restored(Source):
    """The state of a log; a source of answers. Has state: rows that were asked for leave it.

    Attributes:
        rows: Rows of the other searches' draws, by search and draw index.
        replies: Rows of their questions, by search and question index.
        outcomes: The scorer's grades of the selected images, by tag.
        selected_images: Digests of the selected images.
        imported: Whether images were made elsewhere, so that ids are their sources' own.
    """

    ended: set[SearchKey] = field(default_factory=set)
    failed: int = 0
    rows: dict[tuple[SearchKey, int], dict[str, Any]] = field(default_factory=dict)
    replies: dict[tuple[SearchKey, int], dict[str, Any]] = field(default_factory=dict)
    outcomes: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    selected_images: list[str] = field(default_factory=list)
    imported: bool = False

    def answer(self, prompt: Prompt, replicate: int, draw: Draw, id: str) -> Known | None:
        """Return what the run's own log says of a draw; each is asked for once."""
        row = self.rows.pop((SearchKey(prompt.id, replicate), draw.index), None)
        if row is None:
            return None
        if row["draw_id"] != id and not self.imported:
            raise _changed(f"draw {draw.index}", prompt)
        return Known(
            id=row["draw_id"],
            image=row["image"],
            verdict=logged_verdict(row),
            score=None if (value := logged_value(row)) is None else Score(value, row["correct"]),
            errors={} if row["error"] is None else {Role(row["error_role"]): row["error"]},
            logged=True,
        )

    def reply(self, prompt: Prompt, replicate: int, question: Question) -> Known | None:
        """Return what the run's own log says of a question; each is asked for once."""
        row = self.replies.pop((SearchKey(prompt.id, replicate), question.index), None)
        if row is None:
            return None
        reply = logged_reply(row)
        if reply.question != question:
            raise _changed(f"question {question.index}", prompt)
        if reply.error is not None:
            return Known(errors={Role.JUDGE: reply.error}, logged=True)
        return Known(reply=reply.text, logged=True)


def _changed(item: str, prompt: Prompt) -> HarnessError:
    return HarnessError(
        f"{item} of prompt {prompt.id} is not the one in the log: the "
        "strategy's or the harness's code has changed since",
        "resume with the version that started the run, or start a new run",
    )


def restore(folder: RunFolder, *, imported: bool = False) -> Restored:
    """Read a run's log; empty for a run that has none yet.

    Raises:
        HarnessError: A shard is missing or damaged.
    """
    store.check_agreement(folder.log)
    restored = Restored(imported=imported)
    selected: dict[SearchKey, int | None] = {}
    for search in store.read(folder.log, "searches").to_pylist():
        key = SearchKey(search["prompt_id"], search["replicate"])
        restored.ended.add(key)
        restored.failed += search["selected_index"] is None
        selected[key] = search["selected_index"]
    for row in store.read(folder.log, "replies", _REPLY).to_pylist():
        key = SearchKey(row["prompt_id"], row["replicate"])
        if key not in restored.ended:
            restored.replies[key, row["question_index"]] = row
    for row in store.read(folder.log, "candidates", columns=_NEEDED).to_pylist():
        key = SearchKey(row["prompt_id"], row["replicate"])
        if key not in restored.ended:
            restored.rows[key, row["draw_index"]] = row
        elif row["draw_index"] == selected[key]:
            if (value := logged_value(row)) is not None:
                restored.outcomes[row["tag"]].append(value)
            if row["image"] is not None:
                restored.selected_images.append(row["image"])
    return restored
