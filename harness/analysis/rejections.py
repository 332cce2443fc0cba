"""The worth of a draw after so many rejections, with feedback and without.

A curve over budgets rises for two reasons that it does not tell apart: a draw after a rejection may
be right as often as any other, or feedback may make it right more often; and it stops rising for
two: no draw is right, or the judge chose a wrong one. Both are counted here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from harness.analysis.comparison import common
from harness.runs.logged_run import LoggedRun
from harness.statistics.intervals import Estimate, Floats, mean_bands, mean_interval
from harness.statistics.pairs import difference

FEEDBACK, FRESH = "with feedback", "fresh"

COLUMNS = ["run", "draw", "rejections", "success", "low", "high", "method", "searches",
           "prompts"]  # fmt: skip
ENDS = ["run", "prompts", "unsolved", "low", "high", "method", "searches", "wrong",
        "wrong_accepted", "right_rejected", "none_right"]  # fmt: skip
REASONS = {
    "wrong_accepted": "wrong acceptances",
    "right_rejected": "rejections of right images",
    "none_right": "prompts that no draw solves",
}
"""What may have gone wrong in a search, by column of `ends_table`."""


def successes(run: LoggedRun, draw: str) -> Floats:
    """Return how often each prompt's next draw is right after so many rejections.

    Args:
        run: The run.
        draw: `FEEDBACK` or `FRESH`: which draws to look at.

    Returns:
        Mean score over the prompt's searches whose draws so far were all rejected, (P, N); column k
        is of the draw after k rejections. NaN where no search of the prompt has such a draw, or
        none with a score.
    """
    return run.scores_by_prompt(_outcomes(run, draw))


def _outcomes(run: LoggedRun, draw: str) -> Floats:
    rejected = run.answered & ~run.accepted
    before = np.concatenate([np.ones_like(rejected[:, :1]), rejected[:, :-1]], axis=1)
    so_far = np.logical_and.accumulate(before, axis=1)
    of_kind = run.with_feedback if draw == FEEDBACK else ~run.with_feedback
    eligible = so_far & of_kind & (run.index >= 0) & run.answered & run.scored
    return np.where(eligible, run.value, np.nan)


def rejections_table(
    runs: Sequence[LoggedRun], names: Sequence[str], *, seed: int = 0
) -> pd.DataFrame:
    """Success of a draw after k rejections, by run and kind of draw.

    Returns:
        One row a run, kind of draw and k that any search reached: `run`, `draw`, `rejections`,
        `success` (mean over prompts) with `low`, `high` and `method`, `searches` and `prompts` that
        it is over.
    """
    parts = []
    for run, name in zip(runs, names, strict=True):
        for draw in (FEEDBACK, FRESH):
            outcomes = _outcomes(run, draw)
            searches = np.isfinite(outcomes).sum(axis=0)
            (reached,) = np.nonzero(searches)
            if not len(reached):
                continue
            values = run.scores_by_prompt(outcomes[:, reached])
            bands, methods = mean_bands(values, seed=seed)
            columns = (
                name, draw, reached, bands.value, bands.low, bands.high, methods,
                searches[reached], np.isfinite(values).sum(axis=0),
            )  # fmt: skip
            parts.append(pd.DataFrame(dict(zip(COLUMNS, columns, strict=True))))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)


def ends_table(runs: Sequence[LoggedRun], names: Sequence[str], *, seed: int = 0) -> pd.DataFrame:
    """Count what keeps each run's score from 1: unsolved prompts and the judge's errors.

    Returns:
        One row a run with scores: `run`, `prompts`, `unsolved` (share of prompts of which no draw
        of any search is right) with `low`, `high` and `method`; `searches` (with a scored
        selection), `wrong` (those that selected a wrong image), and why: `wrong_accepted` (the
        judge had accepted it), else `right_rejected` (the search held a right one), else
        `none_right`. Right is what the scorer calls correct.
    """
    rows = []
    for run, name in zip(runs, names, strict=True):
        scored = (run.scored & run.answered).any(axis=1)
        right = (run.correct & run.scored & run.answered).any(axis=1)
        solved = run.scores_by_prompt(np.where(scored, right, np.nan))
        solved = solved[np.isfinite(solved)]
        if not len(solved):
            continue
        unsolved = mean_interval((solved == 0).astype(float).tolist(), seed=seed)
        selected = run.searches["selected"].to_numpy()
        known = np.isfinite(run.outcomes_of(selected))
        place = np.arange(len(selected)), np.maximum(selected, 0)
        wrong, accepted = known & ~run.correct[place], run.accepted[place]
        reasons = wrong & accepted, wrong & ~accepted & right, wrong & ~accepted & ~right
        rows.append(
            (
                name, len(solved), unsolved.value, unsolved.low, unsolved.high, unsolved.method,
                *(int(these.sum()) for these in (known, wrong, *reasons)),
            )
        )  # fmt: skip
    return pd.DataFrame(rows, columns=ENDS)


@dataclass(frozen=True)
class Payoff:
    """A second draw with feedback held against a fresh one, after the first was rejected.

    Attributes:
        run: The run with feedback.
        other: The run that draws anew.
        success: Of the draw with feedback.
        fresh: Of the fresh draw.
        gain: The first minus the second, with its interval; paired over prompts.
        prompts: Prompts that have both.
    """

    run: str
    other: str
    success: float
    fresh: float
    gain: Estimate
    prompts: int


def payoffs(runs: Sequence[LoggedRun], names: Sequence[str], *, seed: int = 0) -> list[Payoff]:
    """Hold each run with feedback against the run that says most of fresh draws.

    After one rejection both have searched alike, so that what the next draw is worth hangs on
    nothing but the feedback (and the models, where these differ). After more, the one run is left
    with the prompts that feedback did not help.

    Returns:
        One a run in which feedback comes after one rejection; none where no run draws anew, or
        they have no such prompts in common.
    """
    fresh = [(*_second(run, FRESH), name, run) for run, name in zip(runs, names, strict=True)]
    fresh = [row for row in fresh if row[0] and not row[3].with_feedback.any()]
    results = []
    for run, name in zip(runs, names, strict=True):
        count, own = _second(run, FEEDBACK)
        if not count or not fresh:
            continue
        _, values, other, other_run = max(fresh, key=lambda row: row[0])
        shared = common(run, other_run)
        first, second = values[shared.second], own[shared.first]
        known = np.isfinite(first) & np.isfinite(second)
        if not known.any():
            continue
        first, second = first[known], second[known]
        gain = difference(first, second, seed=seed)
        means = float(second.mean()), float(first.mean())
        results.append(Payoff(name, other, *means, gain, int(known.sum())))
    return results


def _second(run: LoggedRun, draw: str) -> tuple[int, Floats]:
    """Success of each prompt's second draw after a rejection, and how many prompts have one."""
    if run.index.shape[1] < 2:
        return 0, np.full(len(run.prompts), np.nan)
    values = successes(run, draw)[:, 1]
    return int(np.isfinite(values).sum()), values


def sentences(payoffs: Sequence[Payoff], ends: pd.DataFrame) -> list[str]:
    """Say of each run with feedback whether it pays, and what holds the end of its curve down.

    Args:
        payoffs: As `payoffs` finds them.
        ends: As `ends_table` returns it.
    """
    of_run = {str(row["run"]): row for row in ends.to_dict("records")}
    lines = []
    for payoff in payoffs:
        lines.append(_paying(payoff))
        if payoff.run in of_run and payoff.other in of_run:
            lines.append(_ending(payoff, of_run[payoff.run], of_run[payoff.other]))
    return lines


def _paying(payoff: Payoff) -> str:
    gain = payoff.gain
    interval = f"{gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})".replace("-", "−")
    counts = (
        f"After one rejection a draw of {payoff.run} with feedback is right in "
        f"{payoff.success:.3f} and a fresh one of {payoff.other} in {payoff.fresh:.3f}: "
        f"{interval}, paired over {payoff.prompts} prompts"
    )
    if gain.low > 0:
        return f"{counts}. Feedback pays: what it says explains a gain over drawing anew."
    if gain.high < 0:
        return f"{counts}. Feedback costs: drawing anew is right more often."
    return (
        f"{counts}. Feedback does not differ significantly from drawing anew: drawing again "
        "explains the curve."
    )


def _ending(payoff: Payoff, own: Mapping[Any, Any], other: Mapping[Any, Any]) -> str:
    shares = (
        f"No draw solves {own['unsolved']:.3f} of the prompts of {payoff.run} and "
        f"{other['unsolved']:.3f} of those of {payoff.other}"
    )
    return f"{shares}; {ending(own)}"


def ending(row: Mapping[Any, Any]) -> str:
    """Say what holds the end of a run's curve down, by its row of `ends_table`."""
    if not row["wrong"]:
        return f"no search of {row['run']} selected a wrong image."
    most = max(REASONS, key=lambda reason: int(row[reason]))
    return (
        f"of the {row['wrong']} searches of {row['run']} that ended wrong {row['wrong_accepted']} "
        f"accepted a wrong image, {row['right_rejected']} rejected a right one and "
        f"{row['none_right']} drew none: {REASONS[most]} hold the end of its curve down."
    )
