"""Claim: every row is the draw that it says it is.

A draw's noise seed is a hash of run seed, prompt, replicate and index; its id is a hash of all
that determines its pixels. Both are recomputed from the row and the config. No draw is there
twice, and what a search selected is one of its own draws.
"""

from __future__ import annotations

from harness.audit.result import CannotCheck, Problems, Result, concluded, count
from harness.audit.subject import Row, Subject, named
from harness.engine.rows import logged_draw
from harness.engine.searches import SearchKey
from harness.records import Prompt
from harness.scoring.importing import SUITE as IMPORTED
from harness.seeds import recorded_id

NAME = "identities"

_COLUMNS = ("draw_id", "seed", "prompt", "text", "settings", "feedback", "image", "round")


def check(subject: Subject) -> Result:
    """Recompute every seed and every draw's id."""
    if subject.foreign and subject.config.suite != IMPORTED:
        raise CannotCheck(
            "the images were made elsewhere: their seeds are unknown, and their ids are digests of "
            "files that are not here"
        )
    problems = Problems()
    owners: dict[str, str] = {}
    draws = 0
    for key, rows in subject.by_search(_COLUMNS):
        ids: dict[int, str] = {}
        for row in rows:
            draws += 1
            name = named(key, row["draw_index"])
            for problem in _wrong(row, key, subject):
                problems.add(f"{name}: {problem}")
            if row["draw_index"] in ids:
                problems.add(f"{name} is there twice")
            elif row["draw_id"] in owners:
                problems.add(f"{name} has the id of {owners[row['draw_id']]}")
            ids[row["draw_index"]] = row["draw_id"]
            owners[row["draw_id"]] = name
            for item in row["feedback"] or []:
                if item["draw_id"] not in ids.values() or item["draw_id"] == row["draw_id"]:
                    problems.add(f"{name} has feedback on a draw that is not an earlier one")
        search = subject.searches.get(key)
        if search is not None and search["selected_index"] is not None:
            index = search["selected_index"]
            if ids.get(index) != search["selected_id"]:
                problems.add(f"{named(key)} selected draw {index} under another draw's id")
    known = ["seeds and feedback of images made elsewhere are unknown"] if subject.foreign else []
    return concluded(NAME, count(draws, "draw"), problems, known)


def _wrong(row: Row, key: SearchKey, subject: Subject) -> list[str]:
    index = row["draw_index"]
    if subject.foreign:
        own = recorded_id(key.prompt_id, key.replicate, index, row["image"])
        return [] if own == row["draw_id"] else ["its id is not that of its image"]
    prompt = Prompt(key.prompt_id, row["prompt"])
    try:
        request = subject.resolver.resolve(
            prompt, key.replicate, logged_draw(row), row["round"] or 1
        )
    except (TypeError, ValueError) as error:
        return [f"its seed and id cannot be computed: {error}"]
    problems = []
    if row["seed"] != request.noise_seed:
        problems.append("its seed is not the one that the run's seed gives it")
    if row["draw_id"] != request.id:
        problems.append("its id does not follow from its text, seed, settings and feedback")
    return problems
