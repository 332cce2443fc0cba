"""The report's tables of what a score is made of: kinds of failures, skills, other measures."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from harness.analysis.wording import score
from harness.report.contents import interval, signed
from harness.report.tables import Table


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
