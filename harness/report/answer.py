"""The opening of a report: the answer in sentences, and one line a run.

Every number is read from the tables that stand below; nothing is computed here but which rows to
read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from harness.analysis import rejections
from harness.analysis.comparison import Pair, equal_cost
from harness.analysis.findings import Findings
from harness.analysis.ledger import LEDGER
from harness.price import UNPRICED
from harness.report.tables import Table
from harness.runs.logged_run import PADDED
from harness.runs.wording import with_interval

REASONS = {
    ("device_seconds", "wall_seconds", "price"): (
        ": seconds hang on the machine and its load, and count padded rows of batches"
    ),
    (PADDED,): ": batches were padded",
    ("calls", "tokens"): ": the judge's work is not in NFE",
}
"""Why an axis may order runs otherwise than what was asked of the models does, by axes."""


FEW = 3
"""Pairs of runs that one sentence names."""


def reference(findings: Findings) -> str:
    """Return the run that others are held against: the independent draws with most budget.

    Its curve is known at every budget. Without one it is the first run.
    """
    independent = [
        (int(run.manifest.config["budget"]), -number)
        for number, run in enumerate(findings.runs)
        if not run.dependent
    ]
    return findings.names[-max(independent)[1] if independent else 0]


def sentences(findings: Findings) -> list[str]:
    """Return what the runs show, best first; then differences that are none, or unknown."""
    axis = findings.axis
    results = findings.results[findings.results["kind"] == "micro"].set_index("run")
    scored = results[results["score"].notna()].sort_values("score", ascending=False, kind="stable")
    if scored.empty:
        return ["Nothing could be scored."]
    name, best = str(scored.index[0]), scored.iloc[0]
    cost = "" if axis == "draws" else f" and {_number(best[axis])} {LEDGER[axis]}"
    lines = [
        f"{name} {'scores highest' if len(scored) > 1 else 'scores'}: micro {_interval(best)} for "
        f"{best['draws']:.2f} draws{cost} an image{_gain(findings, name)}."
    ]
    if len(findings.runs) > 1:
        lines += _equal_cost(findings, axis)
    lost = int((results["searches"] - results["searches_scored"]).sum())
    if lost:
        total = int(results["searches"].sum())
        lines.append(f"{lost} of {total} searches ended without a scored image.")
    return lines


def reasons(findings: Findings) -> list[str]:
    """Return sentences on why curves rise as they do: feedback, and what their ends are held by."""
    if len(findings.runs) < 2:
        return []
    return rejections.sentences(findings.payoffs, findings.ends)


def _gain(findings: Findings, name: str) -> str:
    own = findings.scaling[findings.scaling["own"] & (findings.scaling["kind"] == "micro")]
    curve = own[(own["run"] == name) & own["score"].notna()]
    if len(curve) < 2 or curve["budget"].iloc[0] != 1:
        return ""
    return f"; at a budget of one draw it has {curve['score'].iloc[0]:.3f}"


def _equal_cost(findings: Findings, axis: str) -> list[str]:
    against = reference(findings)
    place = f"{against} at the same {LEDGER[axis]} (micro, paired)"
    beginnings = {
        "above": f"Above {place}",
        "below": f"Below {place}",
        "tied": f"No significant difference from {place}",
        "unknown": f"Not compared with {against} at equal {LEDGER[axis]}, which neither's log "
        "knows of the other",
    }
    groups: dict[str, list[str]] = {verdict: [] for verdict in beginnings}
    names = map(str, findings.results["run"].unique())
    for run in (name for name in names if name != against):
        row = equal_cost(findings.matched_by_pair, run, against, axis)
        verdict = _verdict(row)
        differs = verdict in ("above", "below")
        groups[verdict].append(f"{run} by {_difference(row)}" if differs else run)
    lines = [f"{beginnings[name]}: {', '.join(runs)}." for name, runs in groups.items() if runs]
    return lines + _disagreements(findings)


def _disagreements(findings: Findings) -> list[str]:
    """Say where cost axes order runs differently, pairs of one kind in one sentence."""
    orders: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
    pairs = findings.disagreements.groupby(["run", "other"], sort=False)
    for (run, other), of in pairs:
        above, below = (tuple(of[name].unique()) for name in ("axis", "other_axis"))
        if findings.axis in below:
            run, other, above, below = other, run, below, above
        orders.setdefault((above, below), []).append(f"{run} is above {other}")
    lines = []
    for (above, below), verdicts in orders.items():
        reason = next((text for key, text in REASONS.items() if {*key} & {*above, *below}), "")
        more = f" (and {len(verdicts) - FEW} more pairs)" if len(verdicts) > FEW else ""
        lines.append(
            f"The axis matters: at the same {_listed(above)} {', '.join(verdicts[:FEW])}{more}; at "
            f"the same {_listed(below)} it is the other way round{reason}."
        )
    return lines


def _listed(axes: Sequence[str]) -> str:
    *first, last = (LEDGER[axis] for axis in axes)
    return f"{', '.join(first)} or {last}" if first else last


def _verdict(row: Mapping[Any, Any]) -> str:
    if pd.isna(row["difference"]):
        return "unknown"
    if row["low"] > 0:
        return "above"
    return "below" if row["high"] < 0 else "tied"


def overview(findings: Findings, axis: str) -> Table:
    """Return one row a run that fits a screen: draws, cost on an axis of `LEDGER`, scores, gain."""
    against, is_priced = reference(findings), findings.price != UNPRICED
    micro = findings.ledger[findings.ledger["kind"] == "micro"]
    rows = []
    for spent, (run, of) in zip(
        findings.spending, findings.results.groupby("run", sort=False), strict=True
    ):
        kinds = {kind: of[of["kind"] == kind].iloc[0] for kind in ("micro", "macro")}
        row: dict[str, object] = {"run": run, "draws": f"{kinds['micro']['draws']:.2f}"}
        if axis != "draws":
            # A whole run's cost is known where its curve's end is not.
            costs = {**micro[micro["run"] == run].iloc[-1], **kinds["micro"]}
            row[LEDGER[axis]] = _number(costs[axis])
        row |= {kind: _interval(of_kind) for kind, of_kind in kinds.items()}
        if len(findings.runs) > 1:
            row[f"against {against} at equal {LEDGER[axis]}"] = _against(
                findings.matched_by_pair, str(run), against, axis
            )
        row["device-hours, whole run"] = _number(spent.hours)
        if is_priced:
            row["price, whole run"] = _number(spent.due)
        rows.append(row)
    note = (
        "Draws and cost are means for one selected image, verification included; hours are of the "
        "whole run. Scores with 95% intervals; differences are paired over prompts."
    )
    return Table(
        "overview", f"The runs, by {LEDGER[axis]}", findings.results, pd.DataFrame(rows), [note]
    )


def _against(matched: Mapping[Pair, Mapping[Any, Any]], run: str, against: str, axis: str) -> str:
    if run == against:
        return "(reference)"
    row = equal_cost(matched, run, against, axis)
    return str(row["note"]) if pd.isna(row["difference"]) else _difference(row)


def _interval(row: Any) -> str:
    if pd.isna(row["score"]):
        return "unknown"
    return with_interval(row["score"], row["low"], row["high"])


def _difference(row: Any) -> str:
    return f"{row['difference']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})".replace("-", "−")


def _number(value: float) -> str:
    return "unknown" if pd.isna(value) else f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
