"""The report's tables of what a score is made of: kinds of failures, skills, other measures."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from harness.report.contents import interval, signed
from harness.report.tables import Table
from harness.runs.wording import n_of, score


def failures(frame: pd.DataFrame, notes: Sequence[str]) -> Table:
    """Failures by kind, of the first image of a search and of the one that it selects."""
    shown = pd.DataFrame(
        {
            "run": frame["run"],
            "failure": frame["kind"],
            "draws again": frame["feedback"].map({True: "with feedback", False: "anew"}),
            "first image": frame["before"].map(score),
            "selected image": frame["after"].map(score),
            "change": [
                signed(row["difference"], row["low"], row["high"]) for _, row in frame.iterrows()
            ],
            "searches": frame["searches"],
            "prompts": frame["prompts"],
        }
    )
    how = (
        "Shares of images that fail by this kind, over the searches that drew again (with feedback "
        "where the run gives any); an image may fail by several. Intervals over prompts."
    )
    return Table("failures", "Failures by kind, before and after", frame, shown, [how, *notes])


def skills(frame: pd.DataFrame, notes: Sequence[str]) -> Table:
    """Scores by skill at the smallest and at the largest budget."""
    frame = frame[frame["score"].notna()]
    ends = frame.groupby(["run", "tag"], sort=False)
    rows = [
        {
            "run": run,
            "skill": skill,
            "first budget": f"{of['score'].iloc[0]:.3f} at {of['budget'].iloc[0]}",
            "last budget": f"{interval(of.iloc[-1])} at {of['budget'].iloc[-1]}",
            "questions": of["questions"].iloc[-1],
            "prompts": of["prompts"].iloc[-1],
        }
        for (run, skill), of in ends
    ]
    how = "Means over questions, not over prompts; intervals by resampling prompts."
    return Table("skills", "Scores by skill", frame, pd.DataFrame(rows), [how, *notes])


def transfer(frame: pd.DataFrame, notes: Sequence[str]) -> Table:
    """What selection by the judge's score gains by the judge, the scorer and every metric."""
    shown = pd.DataFrame(
        {
            "run": frame["run"],
            "measure": frame["measure"],
            "gain over a random draw": [
                signed(row["gain"], row["low"], row["high"]) for _, row in frame.iterrows()
            ],
            "transfer": [
                "" if pd.isna(row["transfer"])
                else f"{row['transfer']:.2f} [{row['least']:.2f}, {row['most']:.2f}]"
                for _, row in frame.iterrows()
            ],
        }
    )  # fmt: skip
    how = (
        "Gain: selected image minus the mean draw of its search, on the measure's own scale. "
        "Transfer: gain by this measure over gain by the judge's score, each in standard "
        "deviations over draws: 1 if all of the gain is real, 0 if the judge was exploited; empty "
        "where the judge's own gain is not told from 0."
    )
    return Table("transfer", "Does the judge's gain transfer?", frame, shown, [how, *notes])


def agreement(frame: pd.DataFrame, notes: Sequence[str]) -> Table:
    """The judge's verdicts against the scorer's, over all draws and by tag."""
    rows = frame.to_dict("records")
    shown = pd.DataFrame(
        {
            "run": frame["run"],
            "draws of": frame["tag"].replace("", "all prompts"),
            "agreement": [interval({**row, "score": row["agreement"]}) for row in rows],
            "wrong ones accepted": [
                n_of(row["wrong_accepted"], row["wrong_accepted"] + row["wrong_rejected"])
                for row in rows
            ],
            "right ones rejected": [
                n_of(row["right_rejected"], row["right_accepted"] + row["right_rejected"])
                for row in rows
            ],
            "area under ROC": frame["auc"].map(score),
            "prompts": frame["prompts"],
        }
    )
    how = (
        "Agreement: share of draws on which judge and scorer say the same, a mean over prompts. "
        "Area under ROC: chance that the judge scores a right draw above a wrong one; unknown "
        "where it gives no scores. Draws are those of the searches, which draw again what was "
        "rejected."
    )
    return Table("agreement", "Judge against scorer", frame, shown, [how, *notes])


def peaks(frame: pd.DataFrame, notes: Sequence[str]) -> Table:
    """Where every measure of the selected image is highest over budgets, and what follows."""
    rows = frame.to_dict("records")
    shown = pd.DataFrame(
        {
            "run": frame["run"],
            "measure": frame["measure"],
            "highest": [f"{row['peak']:.4g} at {row['peak_budget']}" for row in rows],
            "last": [f"{row['end']:.4g} at {row['budget']}" for row in rows],
            "last minus highest": [signed(row["change"], row["low"], row["high"]) for row in rows],
            "over-optimised": frame["over_optimised"].map({True: "yes", False: ""}),
            "prompts": frame["prompts"],
        }
    )
    how = (
        "Means of the selected image, each on the measure's own scale. Over-optimised: the measure "
        "falls past its peak, so that further search exploits what it selects by. The peak is "
        "chosen among all budgets, and the interval widened for as many (Bonferroni)."
    )
    return Table("peaks", "Does more search overshoot?", frame, shown, [how, *notes])


def dpg(frame: pd.DataFrame, notes: Sequence[str]) -> Table:
    """DPG-Bench by the official program, with its faults, beside the patched computation."""
    rows = frame.to_dict("records")
    shown = pd.DataFrame(
        {
            "run": frame["run"],
            "measure": frame["measure"],
            "official": frame["official"].astype(float).map(score),
            "patched": frame["patched"].astype(float).map(score),
            "difference": frame["difference"].astype(float).map(score),
            "files": [n_of(row["official_items"], row["items"]) for row in rows],
            "rows lost": frame["lost_rows"],
            "items replaced": frame["replaced_items"],
            "items lost": frame["lost_items"],
        }
    )
    how = (
        "The official program loses the first row of questions, zeroes dependent answers in the "
        "order of the file and leaves items out in silence; both are computed from the same "
        "answers. Files: those that it takes in, of all; four images of a prompt are one."
    )
    return Table("dpg", "DPG-Bench, official and patched", frame, shown, [how, *notes])
