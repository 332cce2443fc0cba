"""Which runs are one experiment, which may be compared, and what must be said of each.

Runs that differ in nothing but their seed are one experiment, repeated: pooled, the searches of a
prompt under all seeds are that prompt's searches, as its replicates are. Two scores are comparable
where the prompts, the resolution and the scorer are the same. What is being compared (strategy,
budget, judge, generator) may differ; how it is measured may not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.config import read_config
from harness.errors import UsageError
from harness.models import leakage
from harness.models.bundled import is_miniature, label, suite_name
from harness.runs.logged_run import FILLS, LoggedRun
from harness.runs.measurement import listed
from harness.seeds import digest

ORACLE = "ORACLE run: the judge is the scorer, so its score is an upper bound"


def pool(runs: Sequence[LoggedRun]) -> list[LoggedRun]:
    """The runs, those that differ in nothing but their seed as one.

    Runs of one seed are never pooled: the same searches twice would look like more evidence.

    Returns:
        One a kind of run, in order of first appearance; seeds ascend inside.
    """
    kinds: dict[str, list[LoggedRun]] = {}
    for run in runs:
        kinds.setdefault(_kind(run), []).append(run)
    pooled: list[LoggedRun] = []
    for group in kinds.values():
        seeds = [seed for run in group for seed in run.seeds]
        if len(group) > 1 and len(set(seeds)) == len(seeds):
            pooled.append(_merged(sorted(group, key=lambda run: run.seeds)))
        else:
            pooled += group
    return pooled


def only(run: LoggedRun, part: int) -> LoggedRun:
    """One of the runs that a pooled run is made of."""
    rows = np.flatnonzero(run.searches["part"].to_numpy() == part)
    searches = run.searches.iloc[rows].reset_index(drop=True)
    prompts, searches["prompt"] = np.unique(searches["prompt"], return_inverse=True)
    return run.with_arrays(
        lambda values, fill: values[rows],
        parts=(run.parts[part],),
        prompts=run.prompts.iloc[prompts].reset_index(drop=True),
        searches=searches.assign(part=0),
    )


def _kind(run: LoggedRun) -> str:
    identity = read_config(run.manifest.config).identity()
    del identity["seed"]
    return digest([identity, run.manifest.prompt_set.digest])


def _merged(runs: Sequence[LoggedRun]) -> LoggedRun:
    prompts = pd.concat([run.prompts for run in runs]).drop_duplicates("prompt_id")
    prompts = prompts.sort_values("prompt_id", ignore_index=True)
    place = pd.Index(prompts["prompt_id"])
    frames = []
    for number, run in enumerate(runs):
        rows = place.get_indexer(pd.Index(run.prompts["prompt_id"]))
        frames.append(run.searches.assign(part=number, prompt=rows[run.searches["prompt"]]))
    searches = pd.concat(frames, ignore_index=True)
    order = np.lexsort([searches[name] for name in ("replicate", "part", "prompt")])
    width = max(run.index.shape[1] for run in runs)

    wide = [run.with_arrays(partial(_padded, width=width)) for run in runs]
    dependent = next((run.dependent for run in runs if run.dependent), "")
    if not dependent and len({run.index.shape[1] for run in runs}) > 1:
        dependent = "searches made different numbers of draws"
    joined = {name: np.concatenate([getattr(run, name) for run in wide])[order] for name in FILLS}
    return LoggedRun(
        parts=tuple(part for run in runs for part in run.parts),
        prompts=prompts,
        searches=searches.iloc[order].reset_index(drop=True),
        costs={
            name: np.concatenate([run.costs[name] for run in wide])[order] for name in runs[0].costs
        },
        metrics={
            name: np.concatenate([run.metrics[name] for run in wide])[order]
            for name in runs[0].metrics
        },
        dependent=dependent,
        ranks_within=any(run.ranks_within for run in runs),
        **joined,
    )


def _padded(values: npt.NDArray[Any], fill: float, *, width: int) -> npt.NDArray[Any]:
    return np.pad(values, ((0, 0), (0, width - values.shape[1])), constant_values=fill)


def protocol_differences(first: LoggedRun, second: LoggedRun) -> list[str]:
    """Names of the parts of the protocol in which two runs are known to differ."""
    one, other = first.measurement, second.measurement
    differing = [
        name for name in one if None not in (one[name], other[name]) and one[name] != other[name]
    ]
    # One of two folders may have lost what tells the prompts' contents; equal digests suffice.
    same_prompts = first.manifest.prompt_set == second.manifest.prompt_set
    return [name for name in differing if name != "prompt set" or not same_prompts]


def unrecorded(runs: Sequence[LoggedRun]) -> list[str]:
    """Sentences about parts of the protocol of which nobody knows whether runs differ in them."""
    sentences = []
    for name, run in zip(labels(runs), runs, strict=True):
        parts = [part for part in ("resolution", "scorer") if run.measurement[part] is None]
        if parts:
            verb = "are" if len(parts) > 1 else "is"
            sentences.append(
                f"{' and '.join(parts).capitalize()} of {name} {verb} not on record: they may be "
                "others than what it is compared with was measured by."
            )
    return sentences


def labels(runs: Sequence[LoggedRun]) -> list[str]:
    """A short name for each run: strategy, options that tell it apart, budget; all distinct."""
    configs = [run.manifest.config for run in runs]
    names = [
        f"{c['strategy']['name']}-{c['budget']}{' (oracle)' if c['oracle'] else ''}"
        for c in configs
    ]

    def extend(words: Sequence[str], *, always: bool = False) -> None:
        for name in {n for n in names if names.count(n) > 1}:
            rows = [i for i, n in enumerate(names) if n == name]
            if always or len({words[i] for i in rows}) > 1:
                for i in rows:
                    names[i] = f"{name} {words[i]}"

    options = [sorted(c["strategy"]["options"].items()) for c in configs]
    extend([", ".join(f"{k}={v}" for k, v in of) for of in options])
    extend([suite_name(c).partition(" with another ")[0] for c in configs])
    extend([f"judge {c['judge']['kind']}" for c in configs])
    seeds = [", ".join(map(str, run.seeds)) for run in runs]
    extend([f"seed{'s' * (len(run.parts) > 1)} {of}" for run, of in zip(runs, seeds, strict=True)])
    extend([f"[{run.manifest.run[:8]}]" for run in runs], always=True)
    # What is left is the same run given twice.
    return [f"{n} #{i + 1}" if names.count(n) > 1 else n for i, n in enumerate(names)]


def facts(run: LoggedRun) -> dict[str, Any]:
    """The caption of every table and figure: how a run was measured and how complete it is."""
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
        "draws_logged": int((run.index >= 0).sum()),
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


def captions(names: Sequence[str], runs: Sequence[LoggedRun]) -> list[str]:
    """Return a line about runs for under a figure or table: one for all of which it is true."""
    groups: dict[str, list[str]] = {}
    for name, run in zip(names, runs, strict=True):
        groups.setdefault(caption(run), []).append(name)
    if len(groups) == 1 < len(names):
        return [f"all {len(names)} runs: {next(iter(groups))}"]
    return [f"{', '.join(of)}: {text}" for text, of in groups.items()]


def caption(run: LoggedRun) -> str:
    """Return how a run was measured and how complete it is."""
    known = facts(run)
    images = run.images_per_prompt
    pooled = f" ({images // len(run.parts)} for each of the seeds {known['seeds']})"
    parts = [
        f"{images} image{'s' * (images != 1)} per prompt{pooled if len(run.parts) > 1 else ''}",
        f"{known['searches']} of {known['searches_total']} searches ended",
        f"{known['searches_failed']} failed",
        f"{known['draws_failed']} of {known['draws_logged']} draws failed"
        if known["draws_failed"]
        else "no draw failed",
        *remarks(run),
    ]
    return ", ".join(parts)


def remarks(run: LoggedRun) -> list[str]:
    """Return what sets a run apart from a whole one by independent models of full size."""
    config = run.manifest.config
    unscored = len(run.searches) - run.searches_scored
    return [
        *([without_score(unscored, run.least)] if unscored else []),
        *(["ORACLE judge"] if config["oracle"] else []),
        *([leakage.LABEL] if leakage.warning(config) else []),
        *(["MINIATURE models"] if is_miniature(config) else []),
        *filter(None, [run.coverage.sentence if run.coverage else ""]),
    ]


def warnings(runs: Sequence[LoggedRun]) -> list[str]:
    """Return what a reader must know before the first number."""
    return warnings_of([run.verifying for run in runs])


def warnings_of(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the warnings that follow from configs alone."""
    labels = list(dict.fromkeys(filter(None, map(label, configs))))
    if any(config["oracle"] for config in configs):
        labels.append(ORACLE)
    labels += dict.fromkeys(filter(None, map(leakage.warning, configs)))
    labels += dict.fromkeys(text for config in configs for text in leakage.notices(config))
    return labels


def check_comparable(runs: Sequence[LoggedRun], *, force: bool) -> list[str]:
    """Warnings about unlike protocols, and about parts of them that are not on record.

    Raises:
        UsageError: Some are unlike, and it was not asked to compare all the same.
    """
    names = labels(runs)
    pairs = [
        (names[i], names[j], _differences(names[i], runs[i], names[j], runs[j], parts))
        for i in range(len(runs))
        for j in range(i + 1, len(runs))
        if (parts := protocol_differences(runs[i], runs[j]))
    ]
    if pairs and not force:
        one, other, listing = pairs[0]
        raise UsageError(
            f"{one} and {other} were not measured alike: they differ in {listing}",
            "look at them one by one, or add --force to see them side by side with a warning",
        )
    return [
        *(
            f"Unlike protocols: {first} and {second} differ in {parts}. Their scores are not "
            "comparable; they stand side by side because that was asked for."
            for first, second, parts in pairs
        ),
        *(unrecorded(runs) if len(runs) > 1 else []),
    ]


def _differences(
    name: str, run: LoggedRun, other_name: str, other: LoggedRun, parts: Sequence[str]
) -> str:
    """Spell the parts in which two runs differ, and name the prompts that one of them lacks."""
    listing = ", ".join(parts)
    one, two = run.prompt_set, other.prompt_set
    if "prompt set" not in parts or one is None or two is None:
        return listing
    missing = [
        f"{has} has {len(surplus)} that {lacks} has not: {listed(surplus)}"
        for has, of, lacks, without in ((name, one, other_name, two), (other_name, two, name, one))
        if (surplus := [prompt for key, prompt in of.items() if key not in without])
    ]
    return f"{listing} (of the prompts, {'; '.join(missing)})"
