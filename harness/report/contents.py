"""The report's tables: which rows and columns a reader gets of each frame, and in what words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from harness.analysis.comparison import NO_NUMBERS
from harness.analysis.curves import SELECTORS
from harness.analysis.ledger import LEDGER
from harness.analysis.rejections import ending
from harness.report.tables import Table
from harness.runs.wording import UNKNOWN, n_of, score

_HOW = (
    "Scores: share of prompts whose selected image the scorer finds correct, 95% intervals. Micro "
    "is the mean over prompts, macro the mean over tags; seeded BCa bootstrap over prompts, for "
    "macro within tags. Where BCa does not exist (all values equal) Wilson's interval stands, and "
    "the CSV's column method says so. Searches whose selected image "
    "has no score are in no mean, and counted (scored: how many have one)."
)


def results(frame: pd.DataFrame, notes: Sequence[str]) -> Table:
    """One row a run: micro, macro and tags side by side, and what an image cost."""
    rows = []
    for run, of in frame.groupby("run", sort=False):
        row: dict[str, object] = {"run": run}
        for kind in ("micro", "macro"):
            row[kind] = interval(of[of["kind"] == kind].iloc[0])
        for _, tag in of[of["kind"] == "tag"].iterrows():
            row[tag["tag"] or "(no tag)"] = interval(tag)
        first = of.iloc[0]
        row["draws"] = f"{first['draws']:.2f}"
        row["NFE"] = _spent(first["nfe"])
        row["TFLOPs"] = _spent(first["tflops"])
        if "tflops_padded" in frame:  # reports did not always say it
            row["with padding"] = _spent(first["tflops_padded"])
        row["device-s"] = _spent(first["device_seconds"])
        row["prompts"] = first["prompts"]
        row["scored"] = n_of(first["searches_scored"], first["searches"])
        row["detectable"] = _number(first["detectable_unpaired"])
        rows.append(row)
    unpaired = (
        "Costs are means for one selected image over all roles (generator, judge, scorer). With "
        "padding: TFLOPs and those of the empty rows of batches. "
        "Detectable: the smallest micro difference to an independent run of this size that a 5% "
        "test finds with 80% power; paired comparisons find smaller ones."
    )
    shown = pd.DataFrame(rows)
    return Table("results", "Scores and costs", frame, shown, [_HOW, unpaired, *notes])


def seeds(frame: pd.DataFrame, notes: Sequence[str]) -> Table:
    """The seeds of pooled runs one by one, and how far they lie apart."""
    rows = []
    for run, of in frame.groupby("run", sort=False):
        wide = of[of["kind"] != "tag"].pivot(index="seed", columns="kind", values="score")
        drawn = of[of["kind"] == "micro"].set_index("seed")
        for seed in wide.index:
            rows.append(
                {
                    "run": run,
                    "seed": str(seed),
                    **{kind: score(wide[kind][seed]) for kind in ("micro", "macro")},
                    "draws": f"{drawn['draws'][seed]:.2f}",
                    "prompts": str(drawn["prompts"][seed]),
                }
            )
        spread = {kind: score(wide[kind].std(ddof=1)) for kind in ("micro", "macro")}
        rows.append({"run": run, "seed": "standard deviation", **spread})
    how = (
        "Each seed alone, at the run's own budget. All other tables and figures pool the seeds: a "
        "prompt's score is the mean over its searches under all of them, and intervals resample "
        "prompts, seeds inside."
    )
    return Table("seeds", "Seeds one by one", frame, pd.DataFrame(rows), [how, *notes])


def curves(frame: pd.DataFrame, notes: Sequence[str]) -> Table:
    """Scores at the powers of two and the largest budget; the CSV holds every budget."""
    own = frame[frame["kind"].isin(["micro", "macro"])]
    budgets = own["budget"]
    powers = np.exp2(np.floor(np.log2(budgets))) == budgets
    largest = budgets == own.groupby("run")["budget"].transform("max")
    own = own[(powers | largest) & own["score"].notna()]
    rows = []
    for (run, selector, budget), of in own.groupby(["run", "selector", "budget"], sort=False):
        kinds = of.set_index("kind")
        rows.append(
            {
                "run": run,
                "selector": SELECTORS.get(selector, selector),
                "budget": budget,
                **{kind: interval(kinds.loc[kind]) for kind in ("micro", "macro")},
                "draws": f"{kinds.loc['micro', 'draws']:.2f}",
                "TFLOPs": _spent(kinds.loc["micro", "tflops"]),
                "device-s": _spent(kinds.loc["micro", "device_seconds"]),
                "basis": kinds.loc["micro", "basis"],
            }
        )
    how = (
        "Basis: subsets, the exact expectation over all subsets of the logged draws, equal scores "
        "of the judge sharing the choice; replay, the strategy driven again at that budget "
        "against the log; run, the run itself."
    )
    shown = pd.DataFrame(rows)
    return Table("curves", "Score over budget", frame, shown, [how, _HOW, *notes])


def comparison(frame: pd.DataFrame, notes: Sequence[str]) -> Table:
    """Paired differences: the means of all pairs of runs, then tag by tag."""
    everything, tags = frame, frame["kind"] == "tag"
    frame = pd.concat([frame[~tags], frame[tags]], ignore_index=True)
    shown = pd.DataFrame(
        {
            "first": frame["first"],
            "second": frame["second"],
            "over": np.where(frame["kind"] == "tag", frame["tag"], frame["kind"]),
            "prompts": frame["prompts"],
            "first score": frame["score_first"].map(score),
            "second score": frame["score_second"].map(score),
            "second − first": [difference(row) or UNKNOWN for _, row in frame.iterrows()],
            "better : worse": [
                f"{row['wins']:.0f} : {row['losses']:.0f}" if pd.notna(row["wins"]) else ""
                for _, row in frame.iterrows()
            ],
            "p": frame["p"].map(_p),
            "p (Holm)": frame["p_holm"].map(_p),
            "test": frame["test"].fillna(""),
            "detectable": frame["detectable"].map(_number),
        }
    )
    how = (
        "Paired over common prompts; BCa bootstrap intervals over prompts, for macro within tags "
        "(Newcombe's where BCa does not exist). P-values two-sided; Holm's adjustment over all "
        "pairs of runs, for micro, for macro, and over all pairs and tags, each apart. "
        "Detectable: the smallest difference this pair's design finds with 80% power."
    )
    noise = "Runs of one seed share their noise draw for draw; others share prompts only."
    return Table("comparison", "Paired comparison", everything, shown, [how, noise, *notes])


def matched(frame: pd.DataFrame, notes: Sequence[str]) -> Table:
    """At equal cost."""
    shown = pd.DataFrame(
        {
            "at the cost of": frame["run"],
            "axis": frame["cost_axis"].map(LEDGER),
            "cost": frame["cost"].map(_number),
            "its score": frame["score"].map(score),
            "other run": frame["other"],
            "reaches": frame["other_score"].map(lambda v: "" if pd.isna(v) else f"{v:.3f}"),
            "at budget": frame["other_budget"].map(lambda v: "" if pd.isna(v) else f"{v:.1f}"),
            "run − other": [difference(row) or str(row["note"]) for _, row in frame.iterrows()],
            "other needs": frame["other_needs"].map(
                lambda v: "never" if pd.isna(v) else _number(v)
            ),
        }
    )
    shown.loc[frame["note"].isin(NO_NUMBERS), "other needs"] = ""
    how = (
        "Micro scores over common prompts, costs of one selected image over all roles. Between "
        "two budgets the curve is read on the straight line: a coin flip between the two has "
        "that cost and that score. Other needs: the cost at which the other run's curve first "
        "reaches the score, within its log."
    )
    return Table("matched-cost", "At equal cost", frame, shown, [how, *notes])


def rejections(
    frame: pd.DataFrame, ends: pd.DataFrame, answers: Sequence[str], notes: Sequence[str]
) -> Table:
    """Success after so many rejections, and what no draw solves.

    Args:
        frame: `harness.analysis.rejections.rejections_table`.
        ends: `harness.analysis.rejections.ends_table`.
        answers: What the two come to, in sentences.
        notes: Of the report.
    """
    own = frame[(frame["rejections"] < 4) | np.isin(frame["rejections"], (4, 8, 12, 16, 19))]
    rows: dict[tuple[str, str], dict[str, object]] = {}
    for row in own.to_dict("records"):
        cells = rows.setdefault((row["run"], row["draw"]), {"run": row["run"], "draw": row["draw"]})
        interval = f"[{row['low']:.3f}, {row['high']:.3f}]"
        cells[_after(row["rejections"])] = (
            f"{score(row['success'])} {interval} of {row['searches']}"
        )
    unsolved = [
        f"{row['run']}: no draw solves {score(row['unsolved'])} [{row['low']:.3f}, "
        f"{row['high']:.3f}] of {row['prompts']} prompts; {ending(row)}"
        for row in ends.to_dict("records")
    ]
    how = (
        "How often a draw is right whose search so far has only been rejected, so many times; mean "
        "over prompts with a 95% interval over prompts, of so many searches. After one rejection "
        "runs of one seed and generator are left with the same prompts; after more, each with "
        "those that its own draws did not solve."
    )
    order = [_after(k) for k in sorted(set(own["rejections"]))]
    shown = pd.DataFrame(list(rows.values()), columns=["run", "draw", *order])
    return Table(
        "rejections", "When does it pay?", frame, shown, [*answers, how, *unsolved, *notes]
    )


def _after(rejections: int) -> str:
    return f"after {rejections} rejection{'' if rejections == 1 else 's'}"


def previews(frame: pd.DataFrame, notes: Sequence[str]) -> Table:
    """The worth of previews by step."""
    shown = pd.DataFrame(
        {
            "run": frame["run"],
            "judge": frame["judge"],
            "after step": [f"{row['step']} of {row['steps']}" for _, row in frame.iterrows()],
            "with the final image's": frame["final"],
            "Spearman": [
                signed(row["spearman"], row["low"], row["high"])
                if pd.notna(row["spearman"])
                else UNKNOWN
                for _, row in frame.iterrows()
            ],
            "within prompts": [
                signed(value, np.nan, np.nan) if pd.notna(value) else UNKNOWN
                for value in frame["within"]
            ],
            "pairs": frame["pairs"],
            "prompts": frame["prompts"],
        }
    )
    how = (
        "Rank correlation of what a judge or metric gives a preview with what the image gets that "
        "its trajectory ends in, over all pairs, with a 95% percentile interval over prompts; "
        "within prompts: the mean over prompts of the correlation among a prompt's own pairs, "
        "which is what a search chooses by. Only trajectories that were drawn to their ends count, "
        "which pruning has chosen among: a bank is free of that."
    )
    return Table("previews", "Preview against final", frame, shown, [how, *notes])


def gaps(frame: pd.DataFrame, notes: Sequence[str]) -> Table:
    """Oracle minus own selection at powers of two."""
    micro = frame[frame["kind"] == "micro"]
    powers = np.exp2(np.floor(np.log2(micro["budget"].astype(float)))) == micro["budget"]
    largest = micro["budget"] == micro.groupby("run")["budget"].transform("max")
    micro = micro[powers | largest]
    shown = pd.DataFrame(
        {
            "run": micro["run"],
            "budget": micro["budget"],
            "oracle": micro["oracle"].map(score),
            "as selected": micro["own"].map(score),
            "gap": [signed(row["gap"], row["low"], row["high"]) for _, row in micro.iterrows()],
        }
    )
    how = "Micro. Oracle: whether any draw of the budget is correct (pass@n), from the same draws."
    return Table("gap", "Oracle–judge gap", frame, shown, [how, *notes])


def published(frame: pd.DataFrame, notes: Sequence[str]) -> Table:
    """Published overall scores and why most may not be compared with these runs."""
    overall = frame[frame["kind"] != "tag"]
    shown = pd.DataFrame(
        {
            "method": overall["method"],
            "generator": overall["generator"],
            "n": overall["n"].map("{:g}".format),
            "mean": np.where(overall["derived"], "macro, from printed tags", overall["kind"]),
            "score": [
                f"{score:.3f}" if derived else f"{score:g}"
                for score, derived in zip(overall["score"], overall["derived"], strict=True)
            ],
            "source": overall["source"],
            "not comparable, since": overall["reason"],
        }
    )
    how = (
        "As printed by their sources; none was measured here. Sources do not say how many images "
        "per prompt a score is over."
    )
    return Table("published", "Published scores", frame, shown, [how, *notes])


def interval(row: Any) -> str:
    """Return a score with its interval."""
    if pd.isna(row["score"]):
        return UNKNOWN
    return f"{row['score']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def difference(row: Any) -> str:
    """Return a row's difference with its interval, if it has one; "" where it is unknown."""
    return "" if pd.isna(row["difference"]) else signed(row["difference"], row["low"], row["high"])


def signed(value: float, low: float, high: float) -> str:
    """Return a difference with its interval, if it has one."""
    ends = "" if pd.isna(low) else f" [{low:+.3f}, {high:+.3f}]"
    return f"{value:+.3f}{ends}".replace("-", "−")


def _number(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _spent(value: float) -> str:
    return "not counted" if pd.isna(value) else _number(value)


def _p(value: float) -> str:
    return "" if pd.isna(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"
