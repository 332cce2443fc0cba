"""Runs that differ in nothing but their seed are one experiment, repeated.

Pooled, the searches of a prompt under all seeds are that prompt's searches, as its replicates
are: the score of a prompt is the mean over them, and prompts stay what intervals resample. How
far the seeds lie apart is a table of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.analysis.logged_run import FILLS, LoggedRun
from harness.config import read_config
from harness.seeds import digest


def pool(runs: Sequence[LoggedRun]) -> list[LoggedRun]:
    """The runs, those that differ in nothing but their seed as one.

    Runs of one seed are never pooled: the same searches twice would look like more evidence.

    Args:
        runs: Single runs, in any order.

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


def seeds_table(runs: Sequence[LoggedRun], names: Sequence[str]) -> pd.DataFrame:
    """Scores of each seed of the runs that have several.

    Args:
        runs: As `pool` returns them.
        names: What each is called.

    Returns:
        One row a run, seed and group: `run`, `seed`, `kind`, `tag`, `score`, `prompts` (with
        ended searches of that seed), `budget`, and the mean `draws` of a search.
    """
    rows: list[dict[str, Any]] = []
    for run, name in zip(runs, names, strict=True):
        if len(run.parts) == 1:
            continue
        for number, seed in enumerate(run.seeds):
            part = only(run, number)
            scores = part.scores_by_group(part.scores()[:, None])[:, 0]
            drawn = (part.index >= 0).sum(axis=1).astype(float)[:, None]
            draws = part.by_group(part.by_prompt(drawn))[:, 0]
            rows += [
                {
                    "run": name,
                    "seed": seed,
                    "kind": group.kind,
                    "tag": group.tag,
                    "score": float(score),
                    "prompts": len(group.rows),
                    "budget": run.manifest.config["budget"],
                    "draws": float(cost),
                }
                for group, score, cost in zip(part.groups, scores, draws, strict=True)
            ]
    columns = ["run", "seed", "kind", "tag", "score", "prompts", "budget", "draws"]
    return pd.DataFrame(rows, columns=columns)


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
