"""Claim: every row is the draw that it says it is.

A draw's noise seed is a hash of run seed, prompt, replicate and index; its id is a hash of all
that determines its pixels. Both are recomputed from the row and the config. No draw is there
twice, and what a search selected is one of its own draws. Which of its texts the text encoder cut
is recomputed where the generator's checkpoints are here.
"""

from __future__ import annotations

from harness.audit.audited_run import AuditedRun, Row, named, requested
from harness.audit.regenerator import checkpoints_here
from harness.audit.result import CannotCheck, Problems, Result, concluded, count
from harness.errors import HarnessError, first_line
from harness.identity import Earlier
from harness.interop.importing import SUITE as IMPORTED
from harness.log.schema import DRAW
from harness.records import Role
from harness.registry import GENERATORS
from harness.seeds import recorded_id
from harness.truncation import Truncation, truncation_of

_COLUMNS = ("draw_id", "seed", "prompt", *DRAW[1:], "truncated", "image", "round")


def check(run: AuditedRun) -> Result:
    """Recompute every seed and every draw's id."""
    if run.imported and run.config.suite != IMPORTED:
        raise CannotCheck(
            "the images were made elsewhere: their seeds are unknown, and their ids are digests of "
            "files that are not here"
        )
    problems = Problems()
    owners: dict[str, str] = {}
    draws = 0
    truncation = _truncation(run)
    for key, rows in run.draws_by_round(_COLUMNS):
        ids: dict[int, str] = {}
        earlier: Earlier = {}
        for row in rows:
            draws += 1
            name = named(key, row["draw_index"])
            problems.extend(name, _wrong(row, run, truncation, earlier))
            if row["draw_index"] in ids:
                problems.add(f"{name} is there twice")
            elif row["draw_id"] in owners:
                problems.add(f"{name} has the id of {owners[row['draw_id']]}")
            ids[row["draw_index"]] = row["draw_id"]
            owners[row["draw_id"]] = name
            for item in row["feedback"] or []:
                if item["draw_id"] not in ids.values() or item["draw_id"] == row["draw_id"]:
                    problems.add(f"{name} has feedback on a draw that is not an earlier one")
        index = run.selected(key)
        if index is not None and ids.get(index) != run.searches[key]["selected_id"]:
            problems.add(f"{named(key)} selected draw {index} under another draw's id")
    known = ["seeds and feedback of images made elsewhere are unknown"] if run.imported else []
    return concluded(count(draws, "draw"), problems, known)


def _truncation(run: AuditedRun) -> Truncation | None:
    """Return what tells which texts are cut; None if no row says it, or nobody here can tell."""
    logged = run.table("candidates", ["truncated"])["truncated"]
    if run.imported or logged.null_count == len(logged):
        return None
    try:
        factory = run.plugin(GENERATORS, run.config.generator.kind)
        with run.trusting(run.config.generator):
            return truncation_of(factory, checkpoints_here(run, Role.GENERATOR))
    except (CannotCheck, HarnessError):
        return None  # checkpoints that are not here, or not the run's, are another check's matter


def _wrong(row: Row, run: AuditedRun, truncation: Truncation | None, earlier: Earlier) -> list[str]:
    if run.imported:
        own = recorded_id(row["prompt_id"], row["replicate"], row["draw_index"], row["image"])
        return [] if own == row["draw_id"] else ["its id is not that of its image"]
    try:
        request = requested(run.resolver, row, earlier)
    except (TypeError, ValueError) as error:
        return [f"its seed and id cannot be computed: {error}"]
    problems = []
    if row["seed"] != request.seed:
        problems.append("its seed is not the one that the run's seed gives it")
    if row["draw_id"] != request.id:
        problems.append("its id does not follow from what its row says was asked for")
    if truncation is not None and row["truncated"] is not None:
        try:
            cut = set(truncation(request))
        except Exception as error:  # of a plug-in, or over settings that no generator takes
            return [*problems, f"nobody can tell which of its texts were cut: {first_line(error)}"]
        if cut != (logged_texts := set(map(str, row["truncated"]))):
            now, then = (", ".join(sorted(each)) or "none" for each in (cut, logged_texts))
            problems.append(f"its texts that were cut are {now}, not {then}")
    return problems
