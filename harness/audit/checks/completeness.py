"""Claim: nothing was left out.

Every prompt of the stated set has every replicate's search, and every draw of these is in the
log, the failed ones too.

The prompt set is built again from the benchmark that the config names, so that a set that was
quietly made easier is noticed even where all digests were recomputed. Only images from elsewhere
bring their prompts in a file; in a run that made its own, such a file is no part of it.
"""

from __future__ import annotations

from collections import Counter

from harness.audit.audited_run import AuditedRun, named
from harness.audit.result import CannotCheck, Problems, Result, Status, concluded, count
from harness.engine.searches import SearchKey
from harness.errors import HarnessError
from harness.log.manifest import FINISHED, PromptSet
from harness.log.prompts import prompts_path, stored_prompts


def check(run: AuditedRun) -> Result:
    """Count searches and draws against prompts and replicates."""
    problems = Problems()
    evidence: list[str] = []
    manifest, config = run.manifest, run.config
    try:
        stored_prompts(run.folder, manifest)
    except HarnessError as error:
        problems.add(error.message)
    expected = _expected(run, problems, evidence)
    lacks_prompts = bool(evidence) and expected is None
    ended = Counter(
        SearchKey(row["prompt_id"], row["replicate"])
        for row in run.rows("searches", ["prompt_id", "replicate"])
    )
    for key, times in ended.items():
        if times > 1:
            problems.add(f"{named(key)} has {times} rows as a search")
        if expected is not None and key not in expected:
            problems.add(f"{named(key)} is no search of this run")
    if expected is not None:
        for key in sorted(expected - ended.keys(), key=str):
            if run.imported and key.replicate:
                continue  # how many images a prompt has is as it was found
            problems.add(f"{named(key)} has not ended")
    total = manifest.prompt_set.count * config.replicates
    if run.imported and run.brings_prompts:
        evidence.append("prompts may have different numbers of images, as they were found")
    elif len(ended) != total:
        problems.add(f"{len(ended)} of {total} searches have ended")
    draws, failed = _draws(run, problems, ended)
    if manifest.state == FINISHED:
        for name, number in (("draws", draws), ("draws_failed", failed)):
            if manifest.totals.get(name) != number:
                problems.add(
                    f"the manifest counts {manifest.totals.get(name)} {name}, not {number}"
                )
    else:
        problems.add("the run is not finished")
    lost = sum(row["selected_index"] is None for row in run.searches.values())
    evidence.append(f"{len(ended)} of {total} searches, {lost} without an image; {draws} draws, "
                    f"{failed} failed")  # fmt: skip
    looked = f"{count(manifest.prompt_set.count, 'prompt')} × {config.replicates}"
    # Of which prompts it is, nobody can check where they are lacking.
    well = Status.CLAIMED if lacks_prompts else Status.PASS
    return concluded(looked, problems, evidence, well)


def _expected(run: AuditedRun, problems: Problems, evidence: list[str]) -> set[SearchKey] | None:
    """The searches that there should be; None if the prompt set cannot be built here."""
    manifest = run.manifest
    try:
        prompts = run.prompts
    except CannotCheck as error:
        if run.brings_prompts:
            problems.add(str(error))
        else:
            evidence.append(f"the prompt set could not be built again: {error}")
        return None
    if run.brings_prompts and not run.imported:
        evidence.append(
            f"prompts are those of {prompts_path(run.folder).name}, held to the manifest's "
            "digest: a file's, of which nothing else is known"
        )
    if PromptSet.of(prompts) != manifest.prompt_set:
        problems.add(
            f"the config stands for {count(len(prompts), 'prompt')} of another digest than the "
            f"manifest's {manifest.prompt_set.count}"
        )
    facts = {prompt.id: (prompt.text, prompt.tag) for prompt in prompts}
    logged = run.table("candidates", ["prompt_id", "prompt", "tag"]).group_by(
        ["prompt_id", "prompt", "tag"]
    )
    for row in logged.aggregate([]).to_pylist():
        if facts.get(row["prompt_id"]) != (row["prompt"], row["tag"]):
            problems.add(
                f"the log's prompt {row['prompt_id']} ('{row['prompt']}', {row['tag']}) is none of "
                "the set"
            )
    if run.imported and not run.config.suite.endswith("script"):
        return None
    return {
        SearchKey(prompt.id, replicate)
        for prompt in prompts
        for replicate in range(run.config.replicates)
    }


def _draws(run: AuditedRun, problems: Problems, ended: Counter[SearchKey]) -> tuple[int, int]:
    draws = failed = 0
    seen = set()
    for key, rows in run.by_search(["error_role"]):
        draws += len(rows)
        failed += sum(row["error_role"] is not None for row in rows)
        seen.add(key)
        indices = [row["draw_index"] for row in rows]
        if len(set(indices)) < len(indices):
            problems.add(f"{named(key)} has a draw twice")
        if key not in ended:
            problems.add(f"{named(key)} has draws and no end")
            continue
        counted = run.searches[key]["draws"]
        if counted != len(rows):
            problems.add(f"{named(key)} made {counted} draws, of which {len(rows)} are in the log")
        elif indices != list(range(len(rows))) and indices != _requested(run, key):
            problems.add(f"{named(key)} has draws {indices}, which is not what its strategy asks")
    for key in ended.keys() - seen:
        if run.searches[key]["draws"] != 0:
            problems.add(f"{named(key)} has no draws in the log")
    return draws, failed


def _requested(run: AuditedRun, key: SearchKey) -> list[int]:
    """Return the draws that the strategy asks for: a plug-in may number them as it likes."""
    try:
        result = run.replays[key]
    except CannotCheck:
        return []
    return sorted([*result.asked, *(draw.index for draw in result.missing)])
