"""Everything that is computed about some runs: what reports, `compare` and notebooks share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import pandas as pd

from harness.analysis.aside import aside
from harness.analysis.comparison import Pair, by_pair, comparison_table, matched_table
from harness.analysis.curves import AXES, Curve, RunCurves, run_curves
from harness.analysis.evidence import dpg_table, failures_table, skill_table
from harness.analysis.forecast import continuations
from harness.analysis.judging import (
    agreement_table,
    peaks_table,
    previews_table,
    roc_table,
    transfer_table,
)
from harness.analysis.ledger import disagreements_table, known_axes, ledger_curves, ledger_table
from harness.analysis.protocol import captions, check_comparable, labels, pool, warnings
from harness.analysis.published import load_published, published_points
from harness.analysis.rejections import Payoff, ends_table, payoffs, rejections_table
from harness.analysis.tables import curve_table, gap_table, runs_table, seeds_table
from harness.errors import UsageError
from harness.log import store
from harness.log.location import Location
from harness.models.bundled import is_miniature
from harness.price import UNPRICED, Price
from harness.runs.loading import load_run
from harness.runs.logged_run import LoggedRun
from harness.runs.money import Spending, spent_by
from harness.runs.replay import Replay
from harness.runs.wording import as_html, described

Progress = Callable[[str, str], None]
"""Is told of a stage of work and, within it, of what is being worked on."""


MANY_SEARCHES = 2000
"""Searches whose replays are worth another process."""


def silent(stage: str, detail: str = "") -> None:
    """Show no progress."""


@dataclass(frozen=True)
class Findings:
    """The results of some runs. The frames are computed when first asked for, and kept.

    Attributes:
        runs: The runs, those that differ in nothing but their seed as one.
        names: What each is called in the frames.
        curves: Of each.
        warnings: What must be said before the first number.
        seed: Of bootstraps and sign flips.
        price: What is paid, where that was said.
    """

    runs: list[LoggedRun]
    names: list[str]
    curves: list[RunCurves]
    warnings: list[str]
    seed: int = 0
    price: Price = UNPRICED

    @cached_property
    def axis(self) -> str:
        """Key in `harness.analysis.curves.AXES` of the cost axis to show first.

        Device-seconds of all roles, verification included, where every run was made on devices of
        one name and NFE orders no two runs otherwise, as it does where devices were busy with
        other work, too; else NFE, which does not depend on the device; else draws.
        """
        own = self.scaling[self.scaling["own"] & (self.scaling["kind"] == "micro")]
        usable = [axis for axis in AXES if own[axis].notna().all() and (own[axis] > 0).any()]
        devices = {device for run in self.runs for device in run.devices}
        if "device_seconds" in usable and len(devices) == 1 and None not in devices:
            axes = self.disagreements[["axis", "other_axis"]]
            if not axes.isin(["device_seconds", "nfe"]).all(axis=1).any():
                return "device_seconds"
        return "nfe" if "nfe" in usable else "draws"

    def __repr__(self) -> str:
        rows = list(map(described, self.runs, self.names))
        listed = ", ".join(f"{of['run']} {of['micro']}" for of in rows)
        has_miniature = any(is_miniature(run.manifest.config) for run in self.runs)
        label = ", MINIATURE models" if has_miniature else ""
        return f"<Findings of {len(rows)} runs, micro: {listed}{label}>"

    def _repr_html_(self) -> str:
        return as_html(list(map(described, self.runs, self.names)), self.warnings)

    @cached_property
    def captions(self) -> list[str]:
        """Captions of the runs: how measured, how complete, what is not computed."""
        lines = captions(self.names, self.runs)
        for name, of in zip(self.names, self.curves, strict=True):
            cut = dict.fromkeys(text for part in of.run.parts for text in part.truncated.sentences)
            lines += [f"{name}: {note}" for note in [*of.notes, *cut]]
        return lines

    @property
    def unscored(self) -> list[str]:
        """Sentences about runs of which nothing could be scored, with a reason."""
        return [
            f"nothing of {name} could be scored: {_reason(run)}"
            for name, run in zip(self.names, self.runs, strict=True)
            if not run.searches_scored
        ]

    @cached_property
    def results(self) -> pd.DataFrame:
        """Scores and costs of each run: `harness.analysis.tables.runs_table`."""
        return runs_table(self.runs, self.names, seed=self.seed)

    @cached_property
    def scaling(self) -> pd.DataFrame:
        """Every curve: `harness.analysis.tables.curve_table`."""
        return curve_table(self.curves, self.names, seed=self.seed)

    @cached_property
    def gaps(self) -> pd.DataFrame:
        """Oracle minus own selection: `harness.analysis.tables.gap_table`."""
        return gap_table(self.curves, self.names, seed=self.seed)

    @cached_property
    def seeds(self) -> pd.DataFrame:
        """Seeds of pooled runs one by one: `harness.analysis.protocol.seeds_table`."""
        return seeds_table(self.runs, self.names)

    @cached_property
    def comparison(self) -> pd.DataFrame:
        """Paired differences: `harness.analysis.comparison.comparison_table`."""
        return comparison_table(self.runs, self.names, seed=self.seed)

    def comparison_at(self, budget: int) -> pd.DataFrame:
        """Paired differences at a smaller budget, as the logs answer it.

        A score is what `scaling` averages over prompts: for independent draws the expectation
        over all choices of so many of them, else what the strategy would have selected.

        Raises:
            UsageError: A log does not answer this budget.
        """
        scores = []
        for name, of in zip(self.names, self.curves, strict=True):
            try:
                scores.append(of.own.at(budget))
            except UsageError as error:
                raise UsageError(f"{name}: {error.message}", error.hint) from None
        return comparison_table(self.runs, self.names, scores=scores, seed=self.seed)

    @cached_property
    def transfer(self) -> pd.DataFrame:
        """Gains by measures that did not steer: `harness.analysis.judging.transfer_table`."""
        return transfer_table(self.runs, self.names, seed=self.seed)

    @cached_property
    def previews(self) -> pd.DataFrame:
        """The worth of previews: `harness.analysis.judging.previews_table`."""
        return previews_table(self.runs, self.names, seed=self.seed)

    @cached_property
    def matched(self) -> pd.DataFrame:
        """Runs at equal cost: `harness.analysis.comparison.matched_table`."""
        axes = dict.fromkeys((*AXES, *known_axes(self._ledger)))
        return matched_table(self._ledger, self.names, seed=self.seed, axes=axes)

    @cached_property
    def matched_by_pair(self) -> Mapping[Pair, Mapping[Any, Any]]:
        """The rows of `matched`, for `harness.analysis.comparison.equal_cost`."""
        return by_pair(self.matched)

    @cached_property
    def rejections(self) -> pd.DataFrame:
        """Success after k rejections: `harness.analysis.rejections.rejections_table`."""
        return rejections_table(self.runs, self.names, seed=self.seed)

    @cached_property
    def ends(self) -> pd.DataFrame:
        """The reasons that scores stay below 1: `harness.analysis.rejections.ends_table`."""
        return ends_table(self.runs, self.names, seed=self.seed)

    @cached_property
    def payoffs(self) -> list[Payoff]:
        """Feedback against drawing anew after a rejection: `harness.analysis.rejections`."""
        return payoffs(self.runs, self.names, seed=self.seed)

    @cached_property
    def skills(self) -> pd.DataFrame:
        """Scores by skill over budget and cost: `harness.analysis.evidence.skill_table`."""
        return skill_table(self._ledger, self.names, seed=self.seed)

    @cached_property
    def failures(self) -> pd.DataFrame:
        """Failures by kind, at first and in the end: `harness.analysis.evidence`."""
        return failures_table(self.runs, self.names, seed=self.seed)

    @cached_property
    def forecast(self) -> pd.DataFrame:
        """The continuation of curves: `harness.analysis.forecast.continuations`."""
        return continuations(self._ledger, self.names, seed=self.seed)

    @cached_property
    def dpg(self) -> pd.DataFrame:
        """Both programs of DPG-Bench: `harness.analysis.evidence.dpg_table`."""
        return dpg_table(self.runs, self.names)

    @cached_property
    def agreement(self) -> pd.DataFrame:
        """Judge against scorer by tag: `harness.analysis.judging.agreement_table`."""
        return agreement_table(self.runs, self.names, seed=self.seed)

    @cached_property
    def roc(self) -> pd.DataFrame:
        """ROC of judges' scores: `harness.analysis.judging.roc_table`."""
        return roc_table(self.runs, self.names)

    @cached_property
    def peaks(self) -> pd.DataFrame:
        """Where each measure peaks over budgets: `harness.analysis.judging.peaks_table`."""
        return peaks_table(self.curves, self.names, seed=self.seed)

    @cached_property
    def _ledger(self) -> list[RunCurves]:
        return ledger_curves(self.curves, self.price)

    @cached_property
    def ledger(self) -> pd.DataFrame:
        """Own curves over every cost axis: `harness.analysis.ledger.ledger_table`."""
        return ledger_table(self.scaling, self._ledger)

    @cached_property
    def spending(self) -> list[Spending]:
        """Device-hours and money of each run: `harness.analysis.ledger.spent_by`."""
        return [spent_by(run, self.price) for run in self.runs]

    @property
    def bills(self) -> list[str]:
        """A line a run of what it spent; none where nothing has a price."""
        if self.price == UNPRICED:
            return []
        pairs = zip(self.names, self.spending, strict=True)
        return [f"{name}: {spent}" for name, spent in pairs]

    @cached_property
    def disagreements(self) -> pd.DataFrame:
        """Axes that order runs differently: `harness.analysis.ledger.disagreements_table`."""
        return disagreements_table(self.matched_by_pair)

    @cached_property
    def published(self) -> pd.DataFrame:
        """Published scores: `harness.analysis.published.published_points`."""
        return published_points(load_published(), self.runs)


def _reason(run: LoggedRun) -> str:
    for part in run.parts:
        errors = store.read(part.folder.log, "candidates", ["error"])["error"].drop_null()
        if len(errors):
            return str(errors[0])
    return "no search selected an image"


def analyse(
    paths: Sequence[str | Location],
    *,
    separate_seeds: bool = False,
    force: bool = False,
    seed: int = 0,
    price: Price = UNPRICED,
    progress: Progress = silent,
) -> Findings:
    """Read some runs and find out what they say.

    Args:
        paths: Their folders.
        separate_seeds: Keep runs apart that differ in nothing but their seed.
        force: Compare runs of unlike protocols, with a warning.
        seed: Of bootstraps and sign flips.
        price: What is paid.
        progress: Is told what is being read and replayed.

    Raises:
        UsageError: A folder is no run with scores, or protocols differ and were not forced.
        HarnessError: A log is damaged, or the strategy installed here is not the one that ran.
    """
    loaded = []
    for path in paths:
        progress("reading logs", str(path))
        loaded.append(load_run(path))
    return findings_of(
        loaded if separate_seeds else pool(loaded),
        force=force, seed=seed, price=price, progress=progress,
    )  # fmt: skip


def findings_of(
    runs: list[LoggedRun],
    *,
    force: bool = False,
    seed: int = 0,
    price: Price = UNPRICED,
    progress: Progress = silent,
) -> Findings:
    """Find out what some runs say that were read: see `analyse`.

    Raises:
        UsageError: Protocols differ and were not forced.
        HarnessError: The strategy installed here is not the one that ran.
    """
    heeded = [*warnings(runs), *check_comparable(runs, force=force)]
    names = labels(runs)
    # Long replays are shared out: every other run's are made in a copy of this process.
    is_long = len(runs) > 1 and sum(len(run.searches) for run in runs) >= MANY_SEARCHES
    step = 2 if is_long else 1
    beside = aside(partial(_curves, runs[1::2])) if step == 2 else list
    curves = {}
    for place in range(0, len(runs), step):
        progress("computing curves", names[place])
        curves[place] = run_curves(runs[place])
    for place, (own, notes, replayed) in zip(range(1, len(runs), step), beside(), strict=False):
        curves[place] = RunCurves(runs[place], own, notes, replayed)
    return Findings(runs, names, [curves[i] for i in range(len(runs))], heeded, seed, price)


def _curves(runs: Sequence[LoggedRun]) -> list[tuple[list[Curve], list[str], Replay | None]]:
    """Return all of runs' curves but the runs, which whoever asks has."""
    return [(of.curves, of.notes, of.replayed) for of in map(run_curves, runs)]
