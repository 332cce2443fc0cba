"""How a run was measured, and whether two runs may be compared.

Two scores are comparable where the prompts, the resolution and the scorer are the same. What is
being compared (strategy, budget, judge, generator) may differ; how it is measured may not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from harness.analysis.logged_run import LoggedRun
from harness.errors import UsageError
from harness.log.manifest import Manifest
from harness.models import leakage
from harness.models.bundled import is_miniature, label

ORACLE = "ORACLE run: the judge is the scorer, so its score is an upper bound"


def protocol(manifest: Manifest) -> dict[str, Any]:
    """What must be equal for two runs' scores to be comparable, by name."""
    config = manifest.config
    settings = config["generator"]["settings"]
    scorer = config["scorer"] or {}
    digests = {k: v for k, v in config["digests"].items() if k.startswith("scorer.")}
    return {
        "benchmark": (config["benchmark"]["name"], sorted(config["benchmark"]["options"].items())),
        "prompt set": manifest.prompt_set.digest,
        "resolution": (settings.get("height"), settings.get("width")),
        # By content where there are digests; a checkpoint's name may be a path of its own place.
        "scorer": (
            sorted(digests.items()) or sorted(scorer.get("checkpoints", {}).items()),
            scorer.get("dtype"),
            sorted(scorer.get("settings", {}).items()),
        ),
        "miniature models": is_miniature(config),
    }


def unlike(first: Manifest, second: Manifest) -> list[str]:
    """Names of the parts of the protocol in which two runs differ; empty if comparable."""
    one, other = protocol(first), protocol(second)
    return [name for name in one if one[name] != other[name]]


def labels(runs: Sequence[LoggedRun]) -> list[str]:
    """A short name for each run: strategy, options that tell it apart, budget; all distinct."""
    configs = [run.manifest.config for run in runs]
    names = [
        f"{c['strategy']['name']}-{c['budget']}{' (oracle)' if c['oracle'] else ''}"
        for c in configs
    ]

    def extend(describe: Any) -> None:
        for name in {n for n in names if names.count(n) > 1}:
            rows = [i for i, n in enumerate(names) if n == name]
            if len({describe(configs[i]) for i in rows}) > 1:
                for i in rows:
                    names[i] = f"{name} {describe(configs[i])}"

    extend(lambda c: ", ".join(f"{k}={v}" for k, v in sorted(c["strategy"]["options"].items())))
    extend(lambda c: str(c["suite"]))
    extend(lambda c: f"judge {c['judge']['kind']}")
    seeds = [run.seeds for run in runs]
    for name in {n for n in names if names.count(n) > 1}:
        rows = [i for i, n in enumerate(names) if n == name]
        if len({tuple(seeds[i]) for i in rows}) > 1:
            for i in rows:
                plural = "s" if len(seeds[i]) > 1 else ""
                names[i] = f"{name} seed{plural} {', '.join(map(str, seeds[i]))}"
    for name in {n for n in names if names.count(n) > 1}:
        for i in [i for i, n in enumerate(names) if n == name]:
            names[i] = f"{name} [{runs[i].manifest.run[:8]}]"
    # What is left is the same run given twice.
    return [f"{n} #{i + 1}" if names.count(n) > 1 else n for i, n in enumerate(names)]


def facts(run: LoggedRun) -> dict[str, Any]:
    """What every table and figure says of a run: how it was measured and how complete it is."""
    config = run.manifest.config
    return {
        "images_per_prompt": run.images_per_prompt,
        "seeds": ", ".join(map(str, run.seeds)),
        "oracle": config["oracle"],
        "miniature": is_miniature(config),
        "searches": len(run.searches),
        "searches_total": run.searches_total,
        "searches_failed": run.searches_failed,
        "searches_scored": run.searches_scored,
        "draws_failed": run.draws_failed,
        "draws": int((run.index >= 0).sum()),
    }


def without_score(searches: int, least: float) -> str:
    """Say how many searches are in no mean of scores, and what they could make of it.

    Args:
        searches: Searches without a score.
        least: The micro score if they were wrong: otherwise whoever fails where it is hard would
            seem better than it is.
    """
    bound = f" (were they wrong, micro would be {least:.3f})" if least > 0 else ""
    return f"{searches} without a score, in no mean{bound}"


def caption(label: str, run: LoggedRun) -> str:
    """One line about a run for under a figure or table."""
    known = facts(run)
    images = run.images_per_prompt
    unscored = known["searches"] - known["searches_scored"]
    pooled = f" ({images // len(run.parts)} for each of the seeds {known['seeds']})"
    parts = [
        f"{images} image{'s' * (images != 1)} per prompt{pooled if len(run.parts) > 1 else ''}",
        f"{known['searches']} of {known['searches_total']} searches ended",
        f"{known['searches_failed']} failed",
        *([without_score(unscored, run.least)] if unscored else []),
        f"{known['draws_failed']} of {known['draws']} draws failed",
        *(["ORACLE judge"] if known["oracle"] else []),
        *([leakage.LABEL] if leakage.warning(run.manifest.config) else []),
        *(["MINIATURE models"] if known["miniature"] else []),
    ]
    return f"{label}: {', '.join(parts)}"


def warnings(runs: Sequence[LoggedRun]) -> list[str]:
    """What a reader must be told before the first number."""
    labels = list(dict.fromkeys(filter(None, (label(run.manifest.config) for run in runs))))
    if any(run.manifest.config["oracle"] for run in runs):
        labels.append(ORACLE)
    labels += dict.fromkeys(filter(None, (leakage.warning(run.manifest.config) for run in runs)))
    return labels


def differences_table(runs: Sequence[LoggedRun]) -> pd.DataFrame:
    """Pairs of runs of unlike protocols: `first`, `second`, `differs_in` (comma-separated)."""
    names = labels(runs)
    rows = [
        (names[i], names[j], ", ".join(found))
        for i in range(len(runs))
        for j in range(i + 1, len(runs))
        if (found := unlike(runs[i].manifest, runs[j].manifest))
    ]
    return pd.DataFrame(rows, columns=["first", "second", "differs_in"])


def check_alike(runs: Sequence[LoggedRun], *, force: bool) -> list[str]:
    """Warnings about unlike protocols.

    Raises:
        UsageError: There are some, and it was not asked to compare all the same.
    """
    unlike = differences_table(runs)
    said = [
        f"Unlike protocols: {row['first']} and {row['second']} differ in {row['differs_in']}. "
        "Their scores are not comparable; they stand side by side because that was asked for."
        for _, row in unlike.iterrows()
    ]
    if said and not force:
        row = unlike.iloc[0]
        raise UsageError(
            f"{row['first']} and {row['second']} were not measured alike: they differ in "
            f"{row['differs_in']}",
            "look at them one by one, or add --force to see them side by side with a warning",
        )
    return said
