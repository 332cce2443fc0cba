"""The summary of a run: scores with intervals, n of N, failures, draws made, what they cost."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from harness.log import store
from harness.log.costs import COSTS, REPLIES, WORKED, sums
from harness.log.frame import load_searches
from harness.log.location import Location
from harness.log.manifest import Manifest
from harness.log.measured import verifying
from harness.log.run_folder import RunFolder
from harness.log.schema import METERED, UNITS, origin
from harness.models import bundled, leakage, provenance
from harness.runs.loading import ended
from harness.runs.logged_run import LoggedRun, searches_total, truncation_in
from harness.statistics.intervals import Estimate, macro_interval, mean_interval, measure_interval
from harness.truncation import Truncated

ONE_PROCESS = "inline"
"""The worker that has all roles."""

_COLUMNS = (*WORKED, *COSTS, "prompt_id", "truncated", "error", "attempts", "generator_worker")


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
        metrics: By metric: the mean over prompts of what it gave selected images, on its own scale.
        unmeasured: By metric: selected images that have no value of it, if there are any.
        accepted: Share of selected images that the judge accepts; None without a judge.
        agreement: Verdicts against scores over all draws that have both: "right accepted",
            "right rejected", "wrong accepted", "wrong rejected" (counts); empty without a scorer.
        draws: Candidates in the log.
        draws_failed: Candidates that failed.
        draws_per_search: Mean number of draws of the ended searches.
        reused: Of the candidates, those that other runs made, by the run's id.
        retries: Failed tries that later succeeded or gave up, over all draws.
        cost: By role, by unit (nfe, flops, device_seconds, tokens, rows, padded_flops): sums over
            the log, None where a part is unknown; a run without a judge has none of it. Beside them
            `memory_bytes`: `peak_memory`.
        errors: Distinct errors and how often each occurred.
        failures: Failed tries of batches by role, by kind, over all sessions.
        deaths: Workers lost by role, by kind, over all sessions.
        truncated: Which prompts the text encoder cut.
        verifying: `harness.log.measured.verifying`.
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
    metrics: Mapping[str, Estimate]
    unmeasured: Mapping[str, int]
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
    verifying: Mapping[str, Any]

    @property
    def nothing_scored(self) -> bool:
        """True if searches have ended that should have scores, and none has."""
        return bool(self.tags) and not self.searches_scored


def summarise(run: str | Location) -> Summary:
    """Summarise a run, finished or not.

    Raises:
        HarnessError: The folder is no run, or its log is damaged.
    """
    folder = RunFolder.existing(run)
    manifest = Manifest.read(folder.manifest)
    return summary_of(
        manifest,
        load_searches(run),
        store.read(folder.log, "candidates", _COLUMNS),
        store.read(folder.log, "replies", REPLIES),
        ended(folder, manifest),
        verifying(folder, manifest),
    )


def summary_of(
    manifest: Manifest,
    searches: pd.DataFrame,
    draws: pa.Table,
    replies: pa.Table,
    logged: LoggedRun | None,
    verifying: Mapping[str, Any] | None = None,
) -> Summary:
    """Summarise the tables of a log.

    Args:
        manifest: The run's.
        searches: Ended searches.
        draws: Candidates.
        replies: What the judge replied.
        logged: The ended searches as arrays; None if there are none.
        verifying: As of `Summary`; the manifest's config by default.
    """
    tags: dict[str, tuple[Estimate | None, int, int]] = {}
    micro = macro = None
    scored, least = 0, 0.0
    if logged is not None and manifest.config["scorer"]:
        scored, least = logged.searches_scored, logged.least
        scores = logged.scores()
        tag_of = logged.prompts["tag"].to_numpy()
        by_tag = {str(tag): scores[tag_of == tag] for tag in dict.fromkeys(tag_of)}
        known = {tag: of[np.isfinite(of)].tolist() for tag, of in by_tag.items()}
        tags = {
            tag: (mean_interval(known[tag]) if known[tag] else None, len(known[tag]), len(of))
            for tag, of in by_tag.items()
        }
        if scored:
            micro = mean_interval(scores[np.isfinite(scores)].tolist())
            macro = macro_interval([known[tag] for tag in sorted(known) if known[tag]])
    judged = manifest.config["judge"].get("kind") != "none"
    errors = Counter(draws["error"].drop_null().to_pylist() + searches["error"].dropna().tolist())
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
        metrics=_metrics(logged) if logged is not None else {},
        unmeasured=_unmeasured(logged) if logged is not None else {},
        accepted=_accepted(logged) if judged and logged is not None else None,
        agreement=_agreement(draws) if judged and manifest.config["scorer"] else {},
        draws=len(draws),
        draws_failed=len(draws) - draws["error"].null_count,
        draws_per_search=float(searches["draws"].mean()) if len(searches) else 0.0,
        reused=_reused(draws),
        retries=(pc.sum(draws["attempts"]).as_py() or 0) - len(draws),
        cost=_cost(draws, replies, manifest),
        errors=dict(errors.most_common()),
        failures=_counts(manifest, "failures"),
        deaths=_counts(manifest, "deaths"),
        truncated=truncation_in(draws, manifest),
        verifying=manifest.config if verifying is None else verifying,
    )


def _metrics(run: LoggedRun) -> dict[str, Estimate]:
    """Return each metric's mean over prompts of what it gave their selected images."""
    values = {name: run.measured(each) for name, each in run.metrics.items()}
    return {
        name: measure_interval(of[np.isfinite(of)].tolist())
        for name, of in values.items()
        if np.isfinite(of).any()
    }


def _unmeasured(run: LoggedRun) -> dict[str, int]:
    columns = run.searches["selected"].to_numpy()
    rows = np.flatnonzero(columns >= 0)
    missing = {
        name: int(np.isnan(values[rows, columns[rows]]).sum())
        for name, values in run.metrics.items()
    }
    return {name: count for name, count in missing.items() if count}


def _counts(manifest: Manifest, name: str) -> dict[str, dict[str, int]]:
    """Counts by role, by kind, summed over sessions; the first programs kept none."""
    counts: dict[str, dict[str, int]] = {}
    for session in manifest.sessions:
        counted = session.get(name)
        for role, kinds in counted.items() if isinstance(counted, dict) else ():
            into = counts.setdefault(role, {})
            for kind, count in kinds.items():
                into[kind] = into.get(kind, 0) + count
    return counts


def logged_cost(folder: RunFolder, manifest: Manifest) -> dict[str, dict[str, float | None]]:
    """Return what each role spent on a run's draws and replies, as `Summary.cost`.

    Raises:
        HarnessError: Its log is damaged.
    """
    draws = store.read(folder.log, "candidates", [*WORKED, *COSTS])
    return _cost(draws, store.read(folder.log, "replies", REPLIES), manifest)


def _cost(
    draws: pa.Table, replies: pa.Table, manifest: Manifest
) -> dict[str, dict[str, float | None]]:
    judged = manifest.judged
    total = sums(draws, replies, judged=judged)
    worked = [role for role in METERED if f"{role}_flops" in total]
    roles = [role for role in worked if role != "judge" or judged]
    units = (*UNITS, "padded_flops")
    return {
        role: {**{unit: total[f"{role}_{unit}"] for unit in units},
               "memory_bytes": peak_memory([manifest], role)}
        for role in roles
    }  # fmt: skip


def peak_memory(manifests: Iterable[Manifest], role: str) -> int | None:
    """Return the most bytes that a worker of a role held, on its GPU or as a process.

    As far as sessions say: a worker's last word may be lost with it. Where one process did all the
    work (`ONE_PROCESS`), what it held is every role's.

    Args:
        manifests: Of a run, or of its seeds.
        role: Whose.

    Returns:
        None where nothing is on record.
    """
    held = (
        worker.get("memory_bytes")
        for manifest in manifests
        for session in manifest.sessions
        for name, worker in session.get("workers", {}).items()
        if name == ONE_PROCESS or name.rpartition("-")[0] == role
    )
    return max((bytes for bytes in held if bytes is not None), default=None)


def memory_words(manifests: Sequence[Manifest]) -> str:
    """Return the peak memory of each role in words."""
    config = manifests[0].config
    specs = {role: config.get(role) for role in METERED}
    known = {
        role: held
        for role, spec in specs.items()
        if spec and spec.get("kind") != "none" and (held := peak_memory(manifests, role))
    }
    shared = any(ONE_PROCESS in s.get("workers", {}) for m in manifests for s in m.sessions)
    parts = [f"{role} {held / 2**30:.3g} GiB" for role, held in known.items()]
    if not parts:
        return "not recorded"
    return f"{', '.join(parts)} at most{' (one process for all)' if shared else ''}"


def _reused(draws: pa.Table) -> dict[str, int]:
    workers = Counter(draws["generator_worker"].drop_null().to_pylist())
    counts: Counter[str] = Counter()
    for worker, number in workers.items():
        if run := origin(worker):
            counts[run] += number
    return dict(counts)


def _accepted(run: LoggedRun) -> float | None:
    """Return the share of selected images that the judge accepts; None if none is selected."""
    selected = run.searches["selected"].to_numpy()
    rows = np.flatnonzero(selected >= 0)
    return float(run.accepted[rows, selected[rows]].mean()) if len(rows) else None


def _agreement(draws: pa.Table) -> dict[str, int]:
    both = draws.select(["accepted", "correct"]).drop_null()
    accepted, correct = (both[name].to_numpy() for name in ("accepted", "correct"))
    return {
        "right accepted": int((correct & accepted).sum()),
        "right rejected": int((correct & ~accepted).sum()),
        "wrong accepted": int((~correct & accepted).sum()),
        "wrong rejected": int((~correct & ~accepted).sum()),
    }


FORMAT = 1


def as_json(summary: Summary, folder: str, state: str) -> dict[str, Any]:
    """Return a run in numbers, of types that JSON has.

    Args:
        summary: The run.
        folder: Where it lies.
        state: As `ls runs` has it.
    """
    config = summary.manifest.config
    plain = {
        "format": FORMAT,
        "run": summary.manifest.run,
        "folder": folder,
        "state": state,
        "created": summary.manifest.created,
        "label": bundled.label(config),
        "warning": leakage.warning(config),
        "notices": leakage.notices(summary.verifying),
        "provenance": {n: card.line for n, card in provenance.cards(summary.verifying).items()},
        "oracle": config["oracle"],
        "strategy": config["strategy"],
        "benchmark": config["benchmark"],
        "suite": config["suite"],
        "budget": config["budget"],
        "replicates": config["replicates"],
        "seed": config["seed"],
        "scores": {
            "micro": estimate(summary.micro),
            "macro": estimate(summary.macro),
            "tags": {
                tag: {"score": estimate(of), "prompts": number, "prompts_total": total}
                for tag, (of, number, total) in summary.tags.items()
            },
        },
        "metrics": {name: estimate(of) for name, of in summary.metrics.items()},
        "searches": {
            "total": summary.searches_total,
            "ended": summary.searches,
            "failed": summary.searches_failed,
            "scored": summary.searches_scored,
        },
        "draws": {
            "made": summary.draws,
            "failed": summary.draws_failed,
            "per_search": summary.draws_per_search,
            "retries": summary.retries,
            "reused": summary.reused,
        },
        "judge": {"accepted": summary.accepted, "agreement": summary.agreement},
        "cost": summary.cost,
        "errors": summary.errors,
        "failures": summary.failures,
        "lost_workers": summary.deaths,
    }
    known: dict[str, Any] = finite(plain)
    return known


def estimate(of: Estimate | None) -> dict[str, Any] | None:
    """Return a score with its interval; None if nobody knows it."""
    if of is None:
        return None
    return {"value": of.value, "low": of.low, "high": of.high, "method": of.method}


def finite(value: Any) -> Any:
    """Return a value with null for every number that JSON cannot hold."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
