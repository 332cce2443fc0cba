"""Scaling curves: the score at every budget that a run's log can answer, with realised costs.

A run whose draws are independent and alike is read at every n ≤ N by exact expectation over
subsets (`harness.statistics.subsets`). Any other is read by driving its strategy again at smaller
budgets (`harness.runs.replay`). Other selectors over the same draws come along: what a
perfect judge would have taken, what a random pick is worth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from harness.errors import UsageError
from harness.runs.logged_run import LoggedRun
from harness.runs.replay import Replay, missing_table, replay
from harness.statistics import subsets
from harness.statistics.intervals import Floats, Ints, known_mean

STRATEGY, SCORE, ACCEPTED, ORACLE, RANDOM = "strategy", "score", "accepted", "oracle", "random"

SELECTORS = {
    STRATEGY: "as the strategy selects",
    SCORE: "highest judge's score",
    ACCEPTED: "first accepted by the judge",
    ORACLE: "oracle (pass@n)",
    RANDOM: "random draw",
}

AXES = {"draws": "draws", "nfe": "NFE", "tflops": "TFLOPs", "device_seconds": "device-seconds"}
"""Cost axes, all per image: what a prompt's one selected image cost."""


@dataclass(frozen=True)
class Curve:
    """One selector of one run over budgets. P prompts, K budgets, G groups (`run.groups`).

    Attributes:
        selector: One of `SELECTORS`.
        own: Whether this is how the run itself selected.
        basis: "subsets" (exact expectation) or "replay" (the strategy driven again).
        budgets: The budgets, ascending, (K,).
        scores: Expected score of every prompt, (P, K); NaN where the log cannot answer, and of
            prompts whose images have no score.
        costs: By axis and role suffix, realised mean cost of an image, (G, K).
    """

    selector: str
    own: bool
    basis: str
    budgets: Ints
    scores: Floats
    costs: Mapping[str, Floats]

    def at(self, budget: int) -> Floats:
        """Score of every prompt at a budget, (P,); NaN of those that have none at any.

        Raises:
            UsageError: The curve has no such budget, or the log cannot answer it.
        """
        (place,) = np.nonzero(self.budgets == budget)
        whole = np.asarray(np.isfinite(self.scores).any(axis=0))
        if not len(place) or not whole[place[0]]:
            known = ", ".join(str(b) for b in self.budgets[whole])
            raise UsageError(
                f"its curve has no point at budget {budget}", f"it has {known or 'none'}"
            )
        return self.scores[:, place[0]]


@dataclass(frozen=True)
class RunCurves:
    """All curves of a run.

    Attributes:
        run: The run.
        curves: Its own selection first.
        notes: What could not be computed, and why.
        replayed: Its strategy at smaller budgets, if its own curve is read from that.
    """

    run: LoggedRun
    curves: list[Curve]
    notes: list[str] = field(default_factory=list)
    replayed: Replay | None = None

    @property
    def own(self) -> Curve:
        """The curve of what the run did."""
        return self.curves[0]

    def regraded(self, values: Floats) -> Floats:
        """Return the own curve of another grade than the scorer's.

        Args:
            values: Of each draw, (S, N); NaN where unknown.

        Returns:
            Expected grade of every prompt at each of the own curve's budgets, (P, K).
        """
        run = replace(self.run, value=np.nan_to_num(values), scored=np.isfinite(values))
        if self.own.basis == "subsets":
            return run.scores_by_prompt(
                _expected(run, lambda value: subsets.by_score(run.judge_score, value))
            )
        if self.replayed is None:
            return run.scores()[:, None]
        return _replayed_scores(run, self.replayed, map(run.outcomes_of, self.replayed.selected))

    def spending(self, spent: Floats) -> Floats:
        """Return the mean cost of an image at each of the own curve's budgets, (G, K).

        Args:
            spent: By each draw, (S, N).
        """
        if self.own.basis == "subsets":
            return _subset_costs(self.run, spent)
        if self.replayed is None:
            return self.run.mean_cost(spent)[:, None]
        return _replayed_costs(self.run, self.replayed, spent)

    def get(self, selector: str) -> Curve | None:
        """The curve of a selector, if there is one."""
        return next((c for c in self.curves if c.selector == selector), None)


def run_curves(run: LoggedRun) -> RunCurves:
    """All curves of a run, by the way its log allows.

    Raises:
        HarnessError: The strategy installed here is not the one that ran.
    """
    if not run.dependent:
        exact = _from_subsets(run)
        if _selects_by_score(run) and not run.ranks_within:
            return RunCurves(run, exact, _tied(run, exact[0]))
        others = [replace(curve, own=False) for curve in exact]
        if run.ranks_within:  # among other images it would have ranked otherwise
            others = [curve for curve in others if curve.selector != SCORE]
        replayed, notes = _try_replay(run)
        own = [c for c in _from_replay(run, replayed) if c.own] if replayed else [as_run(run)]
        return RunCurves(run, [*own, *others], notes, replayed)
    replayed, notes = _try_replay(run)
    if replayed is None:
        return RunCurves(run, [as_run(run)], notes)
    return RunCurves(run, _from_replay(run, replayed), notes, replayed)


def _from_subsets(run: LoggedRun) -> list[Curve]:
    n = np.arange(1, run.index.shape[1] + 1)
    values = {
        SCORE: _expected(run, lambda value: subsets.by_score(run.judge_score, value)),
        ACCEPTED: _expected(
            run, lambda value: subsets.first_accepted(value, run.accepted, run.answered)
        ),
        ORACLE: _expected(run, subsets.by_oracle),
        RANDOM: _expected(run, lambda value: subsets.at_random(value, run.answered)),
    }
    all_drawn = {name: _subset_costs(run, spent) for name, spent in run.spending()}
    stopping = _stopping_costs(run)
    return [
        Curve(
            selector,
            own=selector == SCORE,
            basis="subsets",
            budgets=n,
            scores=run.scores_by_prompt(scores),
            costs=stopping if selector == ACCEPTED else all_drawn,
        )
        for selector, scores in values.items()
    ]


def _subset_costs(run: LoggedRun, spent: Floats) -> Floats:
    """Return the mean cost of n draws by group, (G, N), from that of each draw."""
    count = np.maximum((run.index >= 0).sum(axis=1), 1)
    n = np.arange(1, run.index.shape[1] + 1)
    return run.by_group(run.by_prompt((spent.sum(axis=1) / count)[:, None])) * n


def _expected(run: LoggedRun, expected: Callable[[Floats], Floats]) -> Floats:
    """Expected score of a selector over all subsets, (S, N), given that what it selects has one.

    Args:
        run: The run.
        expected: From draws' grades, (S, N), the expected grade of what the selector takes, (S, N).

    Returns:
        NaN where nothing that it may select has a score.
    """
    # What the scorer graded and the judge failed on, nobody could select.
    known = run.scored & run.answered
    value = expected(np.where(known, run.value, 0.0))
    drawn = run.index >= 0
    whole = (known == drawn).all(axis=1) & drawn.any(axis=1)
    if whole.all():
        return value
    with np.errstate(divide="ignore", invalid="ignore"):
        given = (value / expected(known.astype(float))).round(12)
    scores: Floats = np.where(whole[:, None], value, given)
    return scores


def _stopping_costs(run: LoggedRun) -> dict[str, Floats]:
    """Costs of stopping at the first accepted draw: the rejected before it, then that one."""
    chances = subsets.hit_chances(run.index.shape[1])[run.accepted.sum(axis=1)]
    others = subsets.draws_until_accepted(run.accepted) - chances
    rejected = (run.index >= 0) & ~run.accepted

    def mean(spent: Floats) -> Floats:
        each = [
            np.where(kind, spent, 0.0).sum(axis=1) / np.maximum(kind.sum(axis=1), 1)
            for kind in (rejected, run.accepted)
        ]
        total = each[0][:, None] * others + each[1][:, None] * chances
        return run.by_group(run.by_prompt(total))

    return {name: mean(spent) for name, spent in run.spending()}


def _from_replay(run: LoggedRun, replayed: Replay) -> list[Curve]:
    rows = np.arange(len(run.searches))
    scored: dict[str, list[Floats]] = {s: [] for s in (STRATEGY, SCORE, ORACLE, RANDOM)}
    for asked, selected in zip(replayed.asked, replayed.selected, strict=True):
        answered = asked & run.answered
        top = np.where(answered, run.judge_score, -np.inf).argmax(axis=1)
        known = run.scored & answered
        value = np.where(known, run.value, 0.0)
        any_known = known.any(axis=1)
        scored[STRATEGY].append(run.outcomes_of(selected))
        scored[SCORE].append(run.outcomes_of(np.where(answered[rows, top], top, -1)))
        scored[ORACLE].append(np.where(any_known, value.max(axis=1, initial=0.0), np.nan))
        mean = value.sum(axis=1) / np.maximum(known.sum(axis=1), 1)
        scored[RANDOM].append(np.where(any_known, mean, np.nan))
    costs = {name: _replayed_costs(run, replayed, spent) for name, spent in run.spending()}
    return [
        Curve(
            selector,
            selector == STRATEGY,
            "replay",
            replayed.budgets,
            _replayed_scores(run, replayed, values),
            costs,
        )
        for selector, values in scored.items()
        if not (run.ranks_within and selector == SCORE)
    ]


def _replayed_scores(run: LoggedRun, replayed: Replay, values: Iterable[Floats]) -> Floats:
    """Return scores by prompt, (P, K), from those of searches at each budget, (S,) each."""
    scores = run.scores_by_prompt(np.stack(list(values), axis=1))
    # A mean over the searches that can be answered would be one over the easy prompts.
    scores[:, replayed.missing.any(axis=1)] = np.nan
    return scores


def _replayed_costs(run: LoggedRun, replayed: Replay, spent: Floats) -> Floats:
    """Return the mean cost of a search by group, (G, K), from that of each draw."""
    of_search = np.where(replayed.asked, spent, 0.0).sum(axis=2)
    of_prompt = np.ascontiguousarray(run.by_prompt(of_search.T).T)
    # One column after the other, since a sum over many is rounded otherwise.
    columns = [run.by_group(column[:, None]) for column in of_prompt]
    means = np.concatenate(columns, axis=1)
    means[:, replayed.missing.any(axis=1)] = np.nan
    return means


def as_run(run: LoggedRun) -> Curve:
    """Return the one point that needs no replay: the run's own budget."""
    costs = {name: run.mean_cost(spent)[:, None] for name, spent in run.spending()}
    budget = np.array([run.manifest.config["budget"]])
    return Curve(STRATEGY, True, "run", budget, run.scores()[:, None], costs)


def _try_replay(run: LoggedRun) -> tuple[Replay | None, list[str]]:
    try:
        replayed = replay(run)
    except UsageError as error:
        return None, [f"only the run's own budget: its strategy cannot be replayed here, {error}"]
    return replayed, [
        f"budget {row.budget}: {row.searches_missing} of {row.searches} searches ask for draws "
        "that are not in the log, so there is no point there"
        for row in missing_table(replayed).itertuples()
    ]


def _tied(run: LoggedRun, curve: Curve) -> list[str]:
    """A note where the curve does not end at the run's score, which ties of the judge make."""
    score, end = float(known_mean(run.scores())), float(known_mean(curve.scores[:, -1]))
    if not abs(score - end) >= 5e-4:  # nor where nothing has a score
        return []
    return [
        f"at budget {curve.budgets[-1]} the run took the first of draws that the judge scores "
        f"alike and came to micro {score:.3f}; the curve lets them share the choice: {end:.3f}"
    ]


def _selects_by_score(run: LoggedRun) -> bool:
    best = np.where(run.answered, run.judge_score, -np.inf).argmax(axis=1)
    best = np.where(run.answered.any(axis=1), best, -1)
    if not np.array_equal(best, run.searches["selected"].to_numpy()):
        return False
    # One that stopped early may have chosen by score among the draws it made, but would not have
    # stopped there with others; a single draw is its own best, whatever the rule.
    return bool(run.index.shape[1] == run.manifest.config["budget"])
