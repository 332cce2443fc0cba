"""Runs against each other, prompt by prompt: at their own budgets, and at equal cost.

Budgets are whole numbers and realised costs are not, so at equal cost a curve is read between two
of its budgets. Reading on the straight line is no approximation: a search that flips a coin between
the two budgets has exactly that mean cost and exactly that mean score.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import Any

import numpy as np
import pandas as pd

from harness.analysis.curves import AXES, Curve, RunCurves
from harness.analysis.protocol import protocol_differences
from harness.config import RECORDED_IMAGES
from harness.errors import UsageError
from harness.runs.logged_run import LoggedRun
from harness.seeds import digest
from harness.statistics.intervals import Floats, Ints
from harness.statistics.pairs import detectable, difference, holm, paired_test

COLUMNS = ["first", "second", "kind", "tag", "prompts", "score_first", "score_second",
           "difference", "low", "high", "interval", "wins", "losses", "p", "p_holm", "test",
           "detectable", "same_noise", "protocol_differences", "images_per_prompt"]  # fmt: skip
MATCHED = ["run", "cost_axis", "cost", "score", "other", "other_budget", "other_score",
           "difference", "low", "high", "interval", "other_needs", "prompts", "kind",
           "note"]  # fmt: skip

_NO_COST, _NO_SCORE = "this cost was not recorded", "no prompt has a score in both runs"
NO_NUMBERS = (_NO_COST, _NO_SCORE)
"""Notes of rows of `matched_table` that say nothing of what the other run needs."""


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
        One row a pair and group, `COLUMNS`: `interval` and `test` are methods, `detectable` is the
        smallest difference that this pair's design finds with 80% power, `protocol_differences`
        names parts of the protocol that differ ("" where runs may be compared).

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
        family = (frame["kind"] == kind) & frame["p"].notna()
        frame.loc[family, "p_holm"] = holm(frame.loc[family, "p"].tolist())
    return frame


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
    strata = list(tags.values())
    yield {"kind": "micro", "tag": "", **_tested(one, other, None, seed), **facts}
    yield {"kind": "macro", "tag": "", **_tested(one, other, strata, seed), **facts}
    if len(strata) > 1:
        for tag, rows in tags.items():
            tested = _tested(one[rows], other[rows], None, seed)
            yield {"kind": "tag", "tag": tag, **tested, **facts}


def _tested(one: Floats, other: Floats, strata: Sequence[Ints] | None, seed: int) -> dict[str, Any]:
    """Return the numbers of a pair over some prompts; with strata, of the means over these."""
    if not len(one):
        nothing = "none: no prompt has a score in both"
        return {"prompts": 0, "interval": nothing, "test": nothing}
    estimate = difference(one, other, strata, seed=seed)
    test = paired_test(one, other, strata, seed=seed)
    means = [
        scores.mean() if strata is None else np.mean([scores[rows].mean() for rows in strata])
        for scores in (one, other)
    ]
    spread = _spread(other - one, strata)
    return {
        "prompts": len(one),
        "score_first": float(means[0]),
        "score_second": float(means[1]),
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


def _spread(gaps: Floats, strata: Sequence[Ints] | None) -> float:
    """Return the deviation of gaps; with strata, that of a mean of as many with their error."""
    if min(map(len, [gaps] if strata is None else strata)) < 2:
        return float("nan")
    if strata is None:
        return float(gaps.std(ddof=1))
    errors = [gaps[rows].var(ddof=1) / len(rows) for rows in strata]
    return float(np.sqrt(sum(errors) * len(gaps)) / len(strata))


def matched_table(
    curves: Sequence[RunCurves],
    names: Sequence[str],
    *,
    seed: int = 0,
    axes: Iterable[str] = AXES,
) -> pd.DataFrame:
    """For each run and each other run: what the other reaches at the run's cost.

    All scores are micro, over the prompts both have; costs are over all roles, a prompt's one
    image, each run's own mean. The interval is of the run's score minus the other's, paired
    over prompts; the costs are taken as measured, without an interval of their own.

    Args:
        curves: Of each run; the run is taken at its largest budget, the other along its curve.
        names: What to call each.
        seed: Of the bootstrap.
        axes: Cost axes of the own curves.

    Returns:
        One row a run, other run and cost axis, `MATCHED`: `other_budget` lies between whole
        budgets, `interval` is a method, `other_needs` the cost at which the other's curve first
        reaches the run's score (NaN if it never does), `note` says why a row has no numbers.
    """
    rows = [
        row
        for i, j in permutations(range(len(curves)), 2)
        for row in _matched_rows(curves[i], names[i], curves[j], names[j], axes, seed)
    ]
    return pd.DataFrame(rows, columns=MATCHED)


Pair = tuple[str, str, str]
"""A run, another run, and a cost axis."""


def by_pair(matched: pd.DataFrame) -> Mapping[Pair, Mapping[Any, Any]]:
    """Return the rows of `matched_table` by what they are of, for `equal_cost` to look at."""
    columns = ["run", "other", "cost_axis", "difference", "low", "high", "note"]
    rows = matched[columns].to_dict("records")
    return {(row["run"], row["other"], row["cost_axis"]): {**row} for row in rows}


def equal_cost(
    matched: Mapping[Pair, Mapping[Any, Any]], run: str, other: str, axis: str
) -> dict[str, Any]:
    """Return the difference of two runs at the end of the cheaper one, whichever that is.

    Args:
        matched: As `by_pair` returns it.
        run: Whose score is the first term.
        other: Whose score is taken from it.
        axis: Cost axis.

    Returns:
        `difference`, `low`, `high`; `end`, the run whose cost it is at; and `note`, why there are
        no numbers, where neither curve can be read at the other's end.
    """
    own, turned = matched[run, other, axis], matched[other, run, axis]
    if pd.isna(own["difference"]) and not pd.isna(turned["difference"]):
        return {
            "difference": -turned["difference"],
            "low": -turned["high"],
            "high": -turned["low"],
            "end": other,
            "note": "",
        }
    return {name: own[name] for name in ("difference", "low", "high", "note")} | {"end": run}


def _matched_rows(
    run: RunCurves, name: str, other: RunCurves, other_name: str, axes: Iterable[str], seed: int
) -> Iterator[dict[str, Any]]:
    shared = common(run.run, other.run)
    for axis in axes:
        score = run.own.scores[shared.first, -1]
        costs, budgets, scores = _line(other.own, axis, shared.second)
        # Over the prompts that both have scores of, as every paired difference.
        known = np.isfinite(score) & np.isfinite(scores).all(axis=1)
        if not known.all():
            score, scores = score[known], scores[known]
        cost = float(run.own.costs[axis][0, -1])
        row = {
            "run": name,
            "cost_axis": axis,
            "cost": cost,
            "score": float(score.mean()) if len(score) else float("nan"),
            "other": other_name,
            "prompts": len(score),
            "kind": "micro",
            "note": "",
        }
        if not len(score) or not np.isfinite(other.own.scores).any():
            yield row | {"note": _NO_SCORE}
        elif not np.isfinite(cost) or cost <= 0 or not len(costs) or costs[-1] <= 0:
            yield row | {"note": _NO_COST}
        else:
            row["other_needs"] = _needs(costs, scores.mean(axis=0), float(score.mean()))
            yield row | _at_cost(cost, score, (costs, budgets, scores), other_name, seed)


def _at_cost(
    cost: float, score: Floats, line: tuple[Floats, Any, Floats], name: str, seed: int
) -> dict[str, Any]:
    """Return what another run's curve has at a cost, beside a score of each prompt."""
    costs, budgets, scores = line
    if cost < costs[0] * (1 - 1e-9):
        return {"note": f"below the cost of one budget step of {name}: {costs[0]:.4g}"}
    if cost > costs[-1] * (1 + 1e-9):
        reached = float(scores[:, -1].mean())
        return {"note": f"beyond the log of {name}, which ends at {costs[-1]:.4g} ({reached:.3f})"}
    place = float(np.interp(cost, costs, np.arange(len(costs))))
    low = min(int(place), len(costs) - 1)
    share = place - low
    high = min(low + 1, len(costs) - 1)
    mixed = (1 - share) * scores[:, low] + share * scores[:, high]
    estimate = difference(mixed, score, seed=seed)
    return {
        "other_budget": float((1 - share) * budgets[low] + share * budgets[high]),
        "other_score": float(mixed.mean()),
        "difference": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "interval": estimate.method,
    }


def _line(curve: Curve, axis: str, prompts: Any) -> tuple[Floats, Any, Floats]:
    """A curve's answered budgets at which its cost rises."""
    costs = curve.costs[axis][0]
    known = np.isfinite(costs) & np.isfinite(curve.scores).any(axis=0)
    # Where a larger budget costs nothing more (all searches had ended), the last one stands.
    places = np.flatnonzero(known)
    places = places[np.append(np.diff(costs[places]) > 0, True)] if len(places) else places
    return costs[places], curve.budgets[places], curve.scores[prompts][:, places]


def _needs(costs: Floats, means: Floats, score: float) -> float:
    reached = np.flatnonzero(means >= score - 1e-12)
    if not len(reached):
        return float("nan")
    at = int(reached[0])
    if at == 0:
        return float(costs[0])
    share = (score - means[at - 1]) / (means[at] - means[at - 1])
    return float(costs[at - 1] + share * (costs[at] - costs[at - 1]))
