"""Scores of images: the official numbers and the paper's, with intervals.

The official summary (`evaluation/summary_scores.py` of github.com/djghosh13/geneval) pools all
images: its overall score is the mean over tags of the share of correct images, and a prompt
counts as correct if any of its images is. The Reflect-DiT paper's is the mean over prompts. They
agree only as far as every prompt has as many images as the next, and every tag as many prompts.
Where a benchmark knows more than right and wrong, a share is the mean grade.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from harness.errors import HarnessError
from harness.log import integrity, store
from harness.log.grades import GRADE, graded
from harness.log.run_folder import RunFolder
from harness.statistics.intervals import Estimate, Floats, macro_interval, mean_interval


@dataclass(frozen=True)
class Share:
    """A share of correct images and what it is over.

    Attributes:
        estimate: The share over the images that were scored; None if none was.
        prompts: Prompts with images.
    """

    estimate: Estimate | None
    scored: int
    images: int
    scored_prompts: int
    prompts: int


@dataclass(frozen=True)
class Scores:
    """Scores of a folder of images, all over the images that could be scored.

    Attributes:
        tags: By tag: the share of correct images.
        macro: Mean of these over tags, GenEval's official overall score.
        per_image: Share of correct images, all pooled.
        micro: Mean over prompts of the share of correct images.
        per_prompt: Share of prompts with at least one correct image.
        refused: Images that were refused or could not be scored, with the reasons.
    """

    tags: Mapping[str, Share]
    macro: Estimate | None
    per_image: Share
    micro: Estimate | None
    per_prompt: Estimate | None
    refused: tuple[str, ...]


def summarise_scores(folder: RunFolder) -> Scores:
    """Summarise the scored images of a run folder.

    Raises:
        HarnessError: The log is damaged, or holds nothing yet.
    """
    integrity.check(folder)
    table = store.read(folder.log, "candidates", ["prompt_id", "tag", "error", *GRADE])
    frame: pd.DataFrame = table.to_pandas()
    if frame.empty:
        raise HarnessError(f"{folder.path} holds no image yet")
    frame["scored"] = frame["correct"].notna()
    frame["right"] = frame["correct"].eq(True)
    frame["value"] = graded(table).to_pandas().fillna(0.0)
    counts = (
        frame.groupby(["tag", "prompt_id"], sort=True)
        .agg(
            value=("value", "sum"),
            right=("right", "sum"),
            scored=("scored", "sum"),
            images=("scored", "size"),
        )
        .reset_index()
    )
    by_tag = {str(tag): part for tag, part in counts.groupby("tag", sort=True)}
    # A failure is no wrong image: what was not scored is in no score, and counted beside it.
    known = counts[counts["scored"] > 0]
    strata = [_linear(part).tolist() for _, part in known.groupby("tag", sort=True)]
    any_right = known["right"].gt(0).astype(float)
    return Scores(
        tags={tag: _pooled(part) for tag, part in by_tag.items()},
        macro=_clipped(macro_interval(strata)) if strata else None,
        per_image=_pooled(counts),
        micro=mean_interval((known["value"] / known["scored"]).tolist()) if strata else None,
        per_prompt=mean_interval(any_right.tolist()) if strata else None,
        refused=tuple(frame["error"].dropna()),
    )


def _pooled(counts: pd.DataFrame) -> Share:
    """Share of correct images over some prompts, which are what is resampled."""
    known = counts[counts["scored"] > 0]
    estimate = _clipped(mean_interval(_linear(known).tolist())) if len(known) else None
    scored, images = (int(counts[name].sum()) for name in ("scored", "images"))
    return Share(estimate, scored, images, len(known), len(counts))


def _linear(counts: pd.DataFrame) -> Floats:
    """Numbers a prompt whose mean is the share of correct images.

    With equal counts they are the prompts' own shares. Otherwise the share is a ratio of two
    sums, and these are its linearisation, whose spread is the ratio's to first order
    (Cochran, Sampling Techniques, chapter 6).
    """
    value, scored = (counts[name].to_numpy(dtype=float) for name in ("value", "scored"))
    share = value.sum() / scored.sum()
    values: Floats = share + (value - share * scored) / scored.mean()
    return values


def _clipped(estimate: Estimate) -> Estimate:
    # A share ends at 1, where its linearisation need not; a mean of grades is what it is.
    top = 1.0 if estimate.value <= 1.0 + 1e-9 else np.inf
    value, low, high = np.clip([estimate.value, estimate.low, estimate.high], 0.0, top).tolist()
    return Estimate(value, low, high, estimate.method)
