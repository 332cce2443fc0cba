"""Runs against each other, prompt by prompt, as frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from harness.analysis.logged_run import LoggedRun
from harness.analysis.pairs import (
    detectable,
    difference,
    holm,
    macro_difference,
    macro_test,
    paired_test,
)
from harness.analysis.protocol import protocol_differences
from harness.analysis.resampling import Floats, Ints
from harness.config import RECORDED_IMAGES
from harness.errors import UsageError
from harness.seeds import digest


@dataclass(frozen=True)
class Common:
    """The prompts and searches that two runs share.

    Attributes:
        first: Row numbers of the common prompts in the first run.
        second: In the second run, in the same order.
        strata: Positions of each tag's prompts among the common ones, by tag.
        same_noise: Whether the runs share seeds and replicates, so draws share their noise.
    """

    first: Ints
    second: Ints
    strata: dict[str, Ints]
    same_noise: bool


def common(first: LoggedRun, second: LoggedRun) -> Common:
    """The prompts that both runs have ended searches of.

    Prompts count as the same where they ask for the same and are scored by the same.

    Raises:
        UsageError: There are none.
    """
    one, other = prompt_keys([first, second])
    place = other.get_indexer(one)
    left = np.flatnonzero(place >= 0)
    if not len(left):
        raise UsageError(
            f"{first.folder.path} and {second.folder.path} have no prompt in common",
            "compare runs over the same prompts",
        )
    tags = first.prompts["tag"].to_numpy()[left]
    strata = {str(tag): np.flatnonzero(tags == tag) for tag in sorted(set(tags))}
    return Common(left, place[left], strata, _same_noise(first, second))


def prompt_keys(runs: Sequence[LoggedRun]) -> list[pd.Index]:
    """Names of each run's prompts, in the order of its `prompts`: equal for the same prompt."""
    if len({run.manifest.prompt_set.digest for run in runs}) == 1:
        return [pd.Index(run.prompts["prompt_id"]) for run in runs]
    if any(run.prompt_set is None for run in runs):  # all that their logs say of them
        fields = ["prompt_id", "prompt", "tag"]
        return [
            pd.Index([digest(row) for row in run.prompts[fields].to_numpy().tolist()])
            for run in runs
        ]
    keys = [{prompt.id: key for key, prompt in (run.prompt_set or {}).items()} for run in runs]
    return [
        pd.Index([key_of.get(prompt_id, prompt_id) for prompt_id in run.prompts["prompt_id"]])
        for run, key_of in zip(runs, keys, strict=True)
    ]


def _same_noise(first: LoggedRun, second: LoggedRun) -> bool:
    """Return whether draws share their noise; of images from elsewhere nobody knows."""
    one, other = first.manifest.config, second.manifest.config
    foreign = RECORDED_IMAGES in (one["generator"]["kind"], other["generator"]["kind"])
    return not foreign and first.seeds == second.seeds and one["replicates"] == other["replicates"]


def comparison_table(
    runs: Sequence[LoggedRun],
    names: Sequence[str],
    *,
    scores: Sequence[Floats] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Every pair of runs over their common prompts: second minus first.

    Holm's adjustment is over all pairs of runs for the means over prompts (micro), apart from
    these for the means over tags (macro), and apart from both over all pairs and tags.

    Args:
        runs: The runs, as they ended.
        names: What to call each.
        scores: Of each run's prompts, (P,), in place of those of the images it selected.
        seed: Of bootstrap and sign flips.

    Returns:
        One row a pair and group: `first`, `second`, `kind`, `tag`, `prompts`, `score_first`,
        `score_second`, `difference`, `low`, `high`, `interval` (its method), `wins`, `losses`,
        `p`, `p_holm`, `test`, `detectable` (the smallest difference that
        this pair's design finds with 80% power), `same_noise`, `protocol_differences` (parts of
        the protocol that differ; "" where runs may be compared), `images_per_prompt`.

    Raises:
        UsageError: Two runs have no prompt in common.
    """
    values = scores if scores is not None else [run.scores() for run in runs]
    rows = [
        {"first": names[i], "second": names[j], **row}
        for i, j in combinations(range(len(runs)), 2)
        for row in _pair_rows((runs[i], values[i]), (runs[j], values[j]), seed)
    ]
    frame = pd.DataFrame(rows, columns=COLUMNS)
    for kind in ("micro", "macro", "tag"):
        family = frame["kind"] == kind
        family &= frame["p"].notna()
        frame.loc[family, "p_holm"] = holm(frame.loc[family, "p"].tolist())
    return frame


COLUMNS = ["first", "second", "kind", "tag", "prompts", "score_first", "score_second",
           "difference", "low", "high", "interval", "wins", "losses", "p", "p_holm", "test",
           "detectable", "same_noise", "protocol_differences", "images_per_prompt"]  # fmt: skip


_UNKNOWN = {
    "prompts": 0,
    **dict.fromkeys(
        ("score_first", "score_second", "difference", "low", "high", "wins", "losses", "p",
         "detectable"),
        float("nan"),
    ),
    "interval": "none: no prompt has a score in both",
    "test": "none: no prompt has a score in both",
}  # fmt: skip
"""Numbers of a pair that has no scores in common."""


def _pair_rows(
    left: tuple[LoggedRun, Floats], right: tuple[LoggedRun, Floats], seed: int
) -> Iterator[dict[str, Any]]:
    (first, scores_first), (second, scores_second) = left, right
    shared = common(first, second)
    one, other = scores_first[shared.first], scores_second[shared.second]
    # A prompt that one of them has no score of says nothing of their difference.
    known = np.isfinite(one) & np.isfinite(other)
    place = np.cumsum(known) - 1
    strata_of = {tag: place[rows[known[rows]]] for tag, rows in shared.strata.items()}
    tags = {tag: rows for tag, rows in strata_of.items() if len(rows)}
    one, other = one[known], other[known]
    images = sorted({first.images_per_prompt, second.images_per_prompt})
    facts = {
        "same_noise": shared.same_noise,
        "protocol_differences": ", ".join(protocol_differences(first, second)),
        "images_per_prompt": " and ".join(map(str, images)),
    }
    if not len(one):
        yield {"kind": "micro", "tag": "", **_UNKNOWN, **facts}
        yield {"kind": "macro", "tag": "", **_UNKNOWN, **facts}
        return
    yield {"kind": "micro", "tag": "", **_tested(one, other, seed), **facts}
    strata = list(tags.values())
    estimate = macro_difference(one, other, strata, seed=seed)
    test = macro_test(one, other, strata, seed=seed)
    spread = _macro_spread(other - one, strata)
    yield {
        "kind": "macro",
        "tag": "",
        "prompts": len(one),
        "score_first": float(np.mean([one[rows].mean() for rows in strata])),
        "score_second": float(np.mean([other[rows].mean() for rows in strata])),
        "difference": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "interval": estimate.method,
        "wins": test.wins,
        "losses": test.losses,
        "p": test.p,
        "test": test.method,
        # The standard error of a stratified mean, as that of a mean of as many prompts.
        "detectable": detectable(spread, len(one)) if spread > 0 else float("nan"),
        **facts,
    }
    if len(strata) > 1:
        for tag, rows in tags.items():
            yield {"kind": "tag", "tag": tag, **_tested(one[rows], other[rows], seed), **facts}


def _tested(one: Floats, other: Floats, seed: int) -> dict[str, Any]:
    estimate = difference(one, other, seed=seed)
    test = paired_test(one, other, seed=seed)
    spread = float((other - one).std(ddof=1)) if len(one) > 1 else float("nan")
    return {
        "prompts": len(one),
        "score_first": float(one.mean()),
        "score_second": float(other.mean()),
        "difference": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "interval": estimate.method,
        "wins": test.wins,
        "losses": test.losses,
        "p": test.p,
        "test": test.method,
        # Without any difference there is no spread to reckon with.
        "detectable": detectable(spread, len(one)) if spread > 0 else float("nan"),
    }


def _macro_spread(gaps: Floats, strata: Sequence[Ints]) -> float:
    if min(map(len, strata)) < 2:
        return float("nan")
    errors = [gaps[rows].var(ddof=1) / len(rows) for rows in strata]
    return float(np.sqrt(sum(errors) * len(gaps)) / len(strata))
