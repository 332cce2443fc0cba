"""What a run came to: scores with intervals, n of N, failures, draws made, what they cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from harness.analysis.logged_run import searches_total
from harness.analysis.prompts_without_draws import prompts_without_draws
from harness.analysis.statistics import Estimate, macro_interval, mean_interval
from harness.analysis.truncated import logged_truncation
from harness.log import store
from harness.log.costs import COSTS, REPLIES, WORKED, sums
from harness.log.frame import load, load_searches
from harness.log.location import Location
from harness.log.manifest import Manifest
from harness.log.run_folder import RunFolder
from harness.log.schema import ROLES, UNITS, origin
from harness.truncation import Truncated


@dataclass(frozen=True)
class Summary:
    """A run in numbers.

    Attributes:
        manifest: The run's.
        searches: Searches that ended, of `searches_total`.
        searches_failed: Searches that selected nothing.
        searches_scored: Searches whose selected image has a score. The others are in no score: a
            failure is no wrong image.
        least: The micro score if these were wrong.
        micro: Mean over prompts; None without a scorer or where nothing is scored.
        macro: Mean over tags, GenEval's official overall; None likewise.
        tags: By tag: the score (None likewise) and how many prompts it is over, of how many.
        accepted: Share of selected images that the judge accepts; None without a judge.
        agreement: Verdicts against scores over all draws that have both: "right accepted",
            "right rejected", "wrong accepted", "wrong rejected" (counts); empty without a scorer.
        draws: Candidates in the log.
        draws_failed: Candidates that failed.
        draws_per_search: Mean number of draws of the ended searches.
        reused: Of the candidates, those that other runs made, by the run's id.
        retries: Failed tries that later succeeded or gave up, over all draws.
        cost: By role, by unit (nfe, flops, device_seconds, tokens, rows, padded_flops): sums over
            the log, None where a part is unknown; a run without a judge has none of it.
        errors: Distinct errors and how often each occurred.
        failures: Failed tries of batches by role, by kind, over all sessions.
        deaths: Workers lost by role, by kind, over all sessions.
        truncated: Which prompts the text encoder cut.
    """

    manifest: Manifest
    searches: int
    searches_total: int
    searches_failed: int
    searches_scored: int
    least: float
    micro: Estimate | None
    macro: Estimate | None
    tags: Mapping[str, tuple[Estimate | None, int, int]]
    accepted: float | None
    agreement: Mapping[str, int]
    draws: int
    draws_failed: int
    draws_per_search: float
    reused: Mapping[str, int]
    retries: int
    cost: Mapping[str, Mapping[str, float | None]]
    errors: Mapping[str, int]
    failures: Mapping[str, Mapping[str, int]]
    deaths: Mapping[str, Mapping[str, int]]
    truncated: Truncated

    @property
    def nothing_scored(self) -> bool:
        """Whether searches have ended that should have scores, and none has."""
        return bool(self.tags) and not self.searches_scored


def summarise(run: str | Location) -> Summary:
    """Summarise a run, finished or not.

    Raises:
        HarnessError: The folder is no run, or its log is damaged.
    """
    folder = RunFolder.existing(run)
    manifest = Manifest.read(folder.manifest)
    frame, searches = load(run), load_searches(run)
    by_prompt = (
        prompt_scores(folder, manifest, frame, searches) if manifest.config["scorer"] else None
    )
    tags: dict[str, tuple[Estimate | None, int, int]] = {}
    micro = macro = None
    scored, least = 0, 0.0
    if by_prompt is not None and len(by_prompt):
        scored = int(by_prompt["scored"].sum())
        right = by_prompt["score"] * by_prompt["scored"]
        least = float((right.fillna(0.0) / by_prompt["replicates"]).mean())
        groups = dict(list(by_prompt.groupby("tag", sort=False)["score"]))
        known = {str(tag): scores.dropna().tolist() for tag, scores in groups.items()}
        tags = {
            str(tag): (
                mean_interval(known[str(tag)]) if known[str(tag)] else None,
                len(known[str(tag)]),
                len(scores),
            )
            for tag, scores in groups.items()
        }
        if scored:
            micro = mean_interval(by_prompt["score"].dropna().tolist())
            macro = macro_interval([known[tag] for tag in sorted(known) if known[tag]])
    chosen = frame[frame["selected"]]
    judged = manifest.config["judge"].get("kind") != "none"
    errors = pd.concat([frame["error"], searches["error"]]).dropna().value_counts()
    return Summary(
        manifest=manifest,
        searches=len(searches),
        searches_total=searches_total(manifest, len(searches)),
        searches_failed=int(searches["selected_index"].isna().sum()),
        searches_scored=scored,
        least=least,
        micro=micro,
        macro=macro,
        tags=tags,
        accepted=float(chosen["accepted"].astype(bool).mean()) if judged and len(chosen) else None,
        agreement=_agreement(frame) if judged and manifest.config["scorer"] else {},
        draws=len(frame),
        draws_failed=int(frame["error"].notna().sum()),
        draws_per_search=float(searches["draws"].mean()) if len(searches) else 0.0,
        reused=_reused(frame),
        retries=int((frame["attempts"] - 1).sum()),
        cost=_cost(folder, manifest),
        errors={str(message): int(count) for message, count in errors.items()},
        failures=_counts(manifest, "failures"),
        deaths=_counts(manifest, "deaths"),
        truncated=logged_truncation(folder, manifest),
    )


def prompt_scores(
    folder: RunFolder, manifest: Manifest, frame: pd.DataFrame, searches: pd.DataFrame
) -> pd.DataFrame:
    """Score of each prompt: the mean grade of its ended searches' selected images.

    A search that selected nothing, or whose selected image could not be scored, is in no score:
    a failure is no wrong image. How many there are is said beside every score.

    Args:
        folder: The run.
        manifest: Its manifest.
        frame: Candidates, as `harness.load` gives them.
        searches: Ended searches, as `harness.log.frame.load_searches` gives them.

    Returns:
        One row a prompt, in order of prompt id: `prompt_id`, `tag`, `score` (NaN where no search
        has one), `scored` (searches that have) and `replicates` (all that ended).
    """
    key = ["prompt_id", "replicate"]
    chosen = frame.loc[frame["selected"], [*key, "value"]]
    merged = searches[key].merge(chosen, on=key, how="left")
    tags = frame.drop_duplicates("prompt_id").set_index("prompt_id")["tag"]
    scores = merged.groupby("prompt_id")["value"].agg(
        score="mean", scored="count", replicates="size"
    )
    without_draws = prompts_without_draws(folder, manifest, set(scores.index) - set(tags.index))
    untold = pd.Series({name: prompt.tag for name, prompt in without_draws.items()}, dtype=object)
    scores["tag"] = tags.reindex(scores.index).fillna(untold).fillna("")
    return scores.reset_index()


def _counts(manifest: Manifest, name: str) -> dict[str, dict[str, int]]:
    """Counts by role, by kind, summed over sessions; the first programs kept none."""
    counts: dict[str, dict[str, int]] = {}
    for session in manifest.sessions:
        found = session.get(name)
        for role, kinds in found.items() if isinstance(found, dict) else ():
            into = counts.setdefault(role, {})
            for kind, count in kinds.items():
                into[kind] = into.get(kind, 0) + count
    return counts


def _cost(folder: RunFolder, manifest: Manifest) -> dict[str, dict[str, float | None]]:
    judged = manifest.config["judge"]["kind"] != "none"
    draws = store.read(folder.log, "candidates", [*WORKED, *COSTS])
    total = sums(draws, store.read(folder.log, "replies", REPLIES), judged=judged)
    roles = [role for role in ROLES if role != "judge" or judged]
    units = (*UNITS, "padded_flops")
    return {role: {unit: total[f"{role}_{unit}"] for unit in units} for role in roles}


def _reused(frame: pd.DataFrame) -> dict[str, int]:
    return dict(Counter(filter(None, map(origin, frame["generator_worker"].dropna()))))


def _agreement(frame: pd.DataFrame) -> dict[str, int]:
    both = frame[frame["accepted"].notna() & frame["correct"].notna()]
    accepted, correct = both["accepted"].astype(bool), both["correct"].astype(bool)
    return {
        "right accepted": int((correct & accepted).sum()),
        "right rejected": int((correct & ~accepted).sum()),
        "wrong accepted": int((~correct & accepted).sum()),
        "wrong rejected": int((~correct & ~accepted).sum()),
    }
