"""The worth of larger budgets: extrapolation of best-of-n from a log of independent draws.

The models are in `harness.statistics.best_of_n`; `held_out` says how far they would have been right
from fewer draws than the log has.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.analysis.curves import RunCurves
from harness.analysis.ledger import LEDGER
from harness.errors import UsageError
from harness.runs.logged_run import LoggedRun
from harness.statistics.best_of_n import (
    BY_SCORE,
    FIRST_ACCEPTED,
    SELECTIONS,
    Forecast,
    PromptDraws,
    observed,
)
from harness.statistics.intervals import LEVEL

LEAST_DRAWS = 4


def prompt_draws(run: LoggedRun) -> PromptDraws:
    """Return a run's draws by prompt, those of all seeds and replicates together.

    Raises:
        UsageError: Draws depend on each other, or there are too few to learn from.
    """
    hint = "a finished `run --strategy best-of-n --budget 8` or more can be forecast"
    if run.dependent:
        raise UsageError(f"nothing can be forecast from this log: {run.dependent}", hint)
    if run.ranks_within:
        raise UsageError(
            "nothing can be forecast from this log: its judge ranks within a search, and has no "
            "score that more draws would raise",
            hint,
        )
    rows = run.searches["prompt"].to_numpy()
    searches = np.bincount(rows, minlength=len(run.prompts))
    width = run.correct.shape[1]
    place = np.arange(len(rows)) - np.searchsorted(rows, rows)

    def spread(values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        table = np.zeros((len(searches), int(searches.max()), width), values.dtype)
        table[rows, place] = values
        return table.reshape(len(searches), -1)

    known, correct, accepted, score = map(
        spread, (run.answered & run.scored, run.correct, run.accepted, run.judge_score)
    )
    judged = run.manifest.judged
    draws = PromptDraws(known, correct & known, accepted & known, score, judged)  # type: ignore[arg-type, operator]
    if draws.number < LEAST_DRAWS:
        raise UsageError(
            f"nothing can be forecast from fewer than {LEAST_DRAWS} scored draws of every prompt "
            f"(here {draws.number})",
            hint,
        )
    return draws


RESAMPLES = 100
TRIALS, TRIAL_RESAMPLES = 4, 24
"""Random choices of draws for each row of `held_out`, and resamples for each one's interval."""

REACH = 4
"""How many times as many draws as it learns from `held_out` has the model predict at most."""

FORECAST_COLUMNS = ["selection", "budget", "score", "low", "high", "draws", "logged"]


def forecast_table(
    draws: PromptDraws,
    budgets: Sequence[int],
    *,
    seed: int = 0,
    level: float = LEVEL,
    selections: Collection[str] = SELECTIONS,
) -> pd.DataFrame:
    """Predict micro scores of a run's prompts at some budgets.

    Args:
        draws: Independent draws.
        budgets: Draws a prompt.
        seed: Of the resampling of prompts.
        level: Nominal coverage of the intervals (percentiles over resampled prompts, the model
            fitted again to each).
        selections: Which to predict.

    Returns:
        One row a selection and budget: `selection`, `budget`, `score`, `low`, `high`, `draws`
        (expected, a prompt), `logged` (whether the log itself holds the budget).
    """
    forecast = Forecast(draws, selections)
    resampled = forecast.resampled(budgets, RESAMPLES, seed)
    rows = []
    for selection, scores in forecast.scores(budgets).items():
        low, high = np.quantile(resampled[selection], [(1 - level) / 2, (1 + level) / 2], axis=0)
        spent = np.asarray(budgets, dtype=float)
        if selection == FIRST_ACCEPTED:
            spent = forecast.model.draws_until_accepted(budgets).mean(axis=0)
        logged = np.asarray(budgets) <= draws.number
        rows += list(
            zip([selection] * len(budgets), budgets, scores, low, high, spent, logged, strict=True)
        )
    return pd.DataFrame(rows, columns=FORECAST_COLUMNS)


CONTINUED = 8
"""A report's forecast goes on to so many times the draws that every prompt has in the log."""


def continuations(
    curves: Sequence[RunCurves], names: Sequence[str], *, seed: int = 0
) -> pd.DataFrame:
    """Predict how the curves of runs that take the best of independent draws go on.

    Args:
        curves: Of each run.
        names: What to call each.
        seed: Of the resampling.

    Returns:
        One row a run and budget, from the run's own on: `run`, then as `forecast_table` (the run's
        own selection), `tested` (whether `held_out` goes as far), and the expected cost of an image
        on each axis of `LEDGER` that the curve has. Runs whose logs allow no forecast have no rows.
    """
    parts = []
    for of, name in zip(curves, names, strict=True):
        own = int(of.own.budgets[-1])
        try:
            if of.own.basis != "subsets" or own < 2:
                continue
            draws = prompt_draws(of.run)
        except UsageError:
            continue
        budgets = [own]
        while budgets[-1] * 2 <= CONTINUED * draws.number:
            budgets.append(budgets[-1] * 2)
        table = forecast_table(draws, budgets, seed=seed, selections=(BY_SCORE,))
        for axis in LEDGER:
            end = float(of.own.costs[axis][0, -1]) if axis in of.own.costs else float("nan")
            table[axis] = end / own * table["draws"]
        table["tested"] = table["budget"] <= REACH * draws.number
        parts.append(table.assign(run=name))
    columns = list(dict.fromkeys(["run", *FORECAST_COLUMNS, "tested", *LEDGER]))
    return (pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns))[
        columns
    ]


def held_out(draws: PromptDraws, *, seed: int = 0) -> pd.DataFrame:
    """Predict budgets that the log holds from fewer of its draws, and say how far that was right.

    Returns:
        One row a selection and number of draws learnt from: `selection`, `fitted_on` and `budget`
        (draws a prompt), `trials`, `error` (mean of predicted minus observed), `largest` (of the
        absolute errors), `covered` (trials whose 95% interval held the observed score).
    """
    rng = np.random.default_rng([seed, 2])
    budget = draws.number
    truth = {name: float(v.mean()) for name, v in observed(draws, [budget]).items()}
    rows = []
    for number in sorted({max(2, budget // 4), max(2, budget // 2)} - {budget}):
        errors: dict[str, list[tuple[float, bool]]] = {}
        for trial in range(TRIALS):
            forecast = Forecast(draws.sample(number, rng))
            resampled = forecast.resampled([budget], TRIAL_RESAMPLES, seed + trial)
            for name, scores in forecast.scores([budget]).items():
                error = float(scores[0]) - truth[name]
                half = 1.96 * float(resampled[name].std(ddof=1))
                errors.setdefault(name, []).append((error, abs(error) <= half))
        for name, pairs in errors.items():
            differences = np.array([error for error, _ in pairs])
            rows.append(
                (name, number, budget, TRIALS, differences.mean(), np.abs(differences).max(),
                 sum(inside for _, inside in pairs))
            )  # fmt: skip
    columns = ["selection", "fitted_on", "budget", "trials", "error", "largest", "covered"]
    return pd.DataFrame(rows, columns=columns)
