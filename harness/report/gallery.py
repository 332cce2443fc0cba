"""The prompts that the gallery shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from harness.analysis.comparison import prompt_keys
from harness.analysis.curves import RunCurves
from harness.errors import UsageError, did_you_mean

CHOICES = ("worst", "best", "gain", "random")


def choose(
    curves: Sequence[RunCurves], choices: Sequence[str], *, size: int = 6, seed: int = 0
) -> dict[str, list[str]]:
    """Return prompts for the gallery and what each was chosen for, in order of choice.

    A prompt is named as `harness.analysis.comparison.prompt_keys` does: where runs are over unlike
    prompts, those that one run alone has are chosen from too.

    Scores are means over the runs at their largest budgets; gain is against the smallest.
    Among equals, those whose single draws are worst (for "best": most often wrong, so that the
    search mattered) come first, then any, by seed.

    Args:
        curves: Of each run.
        choices: Of "worst", "best", "gain", "random"; or "all".
        size: Prompts for each choice.
        seed: Of "random" and of ties.

    Raises:
        UsageError: An unknown choice.
    """
    for choice in choices:
        if choice not in (*CHOICES, "all", "none"):
            raise UsageError(
                f"the gallery knows no '{choice}'", did_you_mean(choice, (*CHOICES, "all", "none"))
            )
    keys = prompt_keys([of.run for of in curves])
    ids = sorted({key for of_run in keys for key in of_run})
    place = {name: number for number, name in enumerate(ids)}
    sums = np.zeros((3, len(ids)))
    for of, of_run in zip(curves, keys, strict=True):
        rows = [place[name] for name in of_run]
        answered = of.own.scores[:, np.isfinite(of.own.scores).any(axis=0)]
        if not answered.shape[1]:
            continue
        ends = answered[:, [-1, 0]]
        known = np.isfinite(ends).all(axis=1)
        sums[:2, rows] += np.where(known, ends.T, 0.0)
        sums[2, rows] += known
    with np.errstate(invalid="ignore"):
        # Prompts without a score are NaN, and last in every order.
        last, first = sums[0] / sums[2], sums[1] / sums[2]
    shuffled = np.random.default_rng([seed, 2]).random(len(ids))
    orders = {
        "worst": np.lexsort((shuffled, first, last)),
        "best": np.lexsort((shuffled, first, -last)),
        "gain": np.lexsort((shuffled, first - last)),
        "random": np.argsort(shuffled),
        "all": np.arange(len(ids)),
        "none": np.arange(0),
    }
    result: defaultdict[str, list[str]] = defaultdict(list)
    for choice in choices:
        for number in orders[choice][: None if choice == "all" else size]:
            result[ids[number]].append({"gain": "largest gain"}.get(choice, choice))
    return dict(result)
