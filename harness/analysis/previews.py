"""The worth of a preview: rank correlation of what was said of it and of the end, step by step.

Pruning and thresholds pay as far as a judge can tell from a preview how the image will end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from harness.analysis.judging import JUDGE, SCORER
from harness.analysis.logged_run import LoggedRun, Part
from harness.analysis.statistics import LEVEL, Floats, Ints, ranks, resamples
from harness.log import store
from harness.log.grades import GRADE, graded
from harness.records import whole_steps

COLUMNS = ("run", "judge", "step", "steps", "final", "spearman", "low", "high", "within", "pairs",
           "prompts")  # fmt: skip

_READ = ("prompt_id", "draw_id", "start", "stop", "judge_score", *GRADE, "metrics")


@dataclass(frozen=True)
class Pairs:
    """Previews with the images that their trajectories ended in.

    Attributes:
        prompt: Number of the prompt of each.
        step: After which step the preview was.
        preview: What each judge gave the preview, by the judge's name; NaN where unknown.
        final: What each gave the image, and the scorer, likewise.
    """

    prompt: Ints
    step: Ints
    preview: dict[str, Floats]
    final: dict[str, Floats]


def previews_table(
    runs: Sequence[LoggedRun], names: Sequence[str], *, seed: int = 0
) -> pd.DataFrame:
    """Rank correlations of previews with ends, of the runs that have any.

    Args:
        runs: The runs.
        names: What to call each.
        seed: Of the bootstrap.

    Returns:
        One row a run, judge (`JUDGE` and the metrics), step and measure of the final image (the
        same judge, and `SCORER`), `COLUMNS`: `spearman`, Spearman's correlation over all `pairs`,
        with a percentile interval, `prompts` resampled; `within`, the mean over prompts of the
        correlation among a prompt's own pairs, which is what a search chooses by. NaN where a side
        is the same for all.
    """
    rows = []
    for run, name in zip(runs, names, strict=True):
        steps = whole_steps(run.manifest.config["generator"].get("settings", {}))
        pairs = _pairs(run)
        rows += [] if pairs is None else [{"run": name, "steps": steps, **row}
                                          for row in _rows(pairs, seed)]  # fmt: skip
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _rows(pairs: Pairs, seed: int) -> Iterator[dict[str, Any]]:
    for judge, previews in pairs.preview.items():
        for step in np.unique(pairs.step):
            for final in (judge, SCORER):
                one, other = previews, pairs.final[final]
                chosen = (pairs.step == step) & np.isfinite(one) & np.isfinite(other)
                if not chosen.any():
                    continue
                prompts = np.unique(pairs.prompt[chosen], return_inverse=True)[1].ravel()
                yield {
                    "judge": judge,
                    "step": int(step),
                    "final": final,
                    **correlation(one[chosen], other[chosen], prompts, seed=seed),
                    "pairs": int(chosen.sum()),
                    "prompts": int(prompts.max()) + 1,
                }


def correlation(one: Floats, other: Floats, prompts: Ints, *, seed: int = 0) -> dict[str, float]:
    """Return Spearman's correlation, its interval, and its mean within prompts.

    A resample counts the pairs of a prompt as often as it drew the prompt, in the ranks too.

    Args:
        one: One side of each pair.
        other: The other.
        prompts: Number of each pair's prompt, from 0 without gaps.
        seed: Of the resampling.
    """
    codes = [np.unique(side, return_inverse=True)[1].ravel() for side in (one, other)]
    count = int(prompts.max()) + 1
    value = _weighted(codes[0], codes[1], np.ones(len(one)))
    # In double precision, so that equal weights leave nothing of a constant side.
    resampled = [
        _weighted(codes[0], codes[1], weights[prompts].astype(float))
        for weights in resamples(count, seed)
    ]
    known = np.array(resampled)[np.isfinite(resampled)]
    tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    low, high = np.quantile(known, tails) if len(known) and count > 1 else (np.nan, np.nan)
    own = [_ranked(one[prompts == n], other[prompts == n]) for n in range(count)]
    within = [r for r in own if np.isfinite(r)]
    return {
        "spearman": value,
        "low": float(low),
        "high": float(high),
        "within": float(np.mean(within)) if within else float("nan"),
    }


def _ranked(one: Floats, other: Floats) -> float:
    return _pearson(ranks(one), ranks(other), np.ones(len(one)))


def _weighted(first: Ints, second: Ints, weights: Floats) -> float:
    ranks = []
    for codes in (first, second):
        mass = np.bincount(codes, weights)
        ranks.append((np.cumsum(mass) - mass / 2)[codes])
    return _pearson(ranks[0], ranks[1], weights)


def _pearson(one: Floats, other: Floats, weights: Floats) -> float:
    one, other = (side - np.average(side, weights=weights) for side in (one, other))
    spread = np.sqrt((weights * one**2).sum() * (weights * other**2).sum())
    return float((weights * one * other).sum() / spread) if spread > 1e-9 else float("nan")


def _pairs(run: LoggedRun) -> Pairs | None:
    parts = [pairs for part in run.parts for pairs in _pairs_of(part, run)]
    if not parts:
        return None
    frame = pd.DataFrame(parts)
    judged = run.manifest.config["judge"]["kind"] != "none"
    names = [*([JUDGE] if judged else []), *run.metrics]
    return Pairs(
        frame["prompt"].to_numpy(np.int64),
        frame["step"].to_numpy(np.int64),
        {name: frame[f"preview {name}"].to_numpy(float) for name in names},
        {name: frame[f"final {name}"].to_numpy(float) for name in (*names, SCORER)},
    )


def _pairs_of(part: Part, run: LoggedRun) -> Iterator[dict[str, Any]]:
    """Yield what was said of each preview and of its end, one after the other."""
    table = store.read(part.folder.log, "candidates", _READ)
    if table["stop"].null_count == len(table):
        return
    places = {name: place for place, name in enumerate(run.prompts["prompt_id"])}
    rows = table.to_pylist()
    for row, value in zip(rows, graded(table).to_pylist(), strict=True):
        metrics = dict(row["metrics"] or ())
        values = {JUDGE: row["judge_score"], SCORER: value}
        values |= {name: metrics.get(name) for name in run.metrics}
        row["values"] = {name: np.nan if x is None else x for name, x in values.items()}
    by_id = {row["draw_id"]: row for row in rows}
    for row in rows:
        if row["stop"] is not None or row["prompt_id"] not in places:
            continue
        finals = {f"final {name}": value for name, value in row["values"].items()}
        earlier = row
        while (start := earlier["start"]) is not None and start["renoise"] is None:
            earlier = by_id[start["draw_id"]]
            previews = {f"preview {name}": value for name, value in earlier["values"].items()}
            yield {
                "prompt": places[row["prompt_id"]],
                "step": earlier["stop"],
                **finals,
                **previews,
            }
