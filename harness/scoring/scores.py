"""What scored images come to: the official numbers and the paper's, with intervals.

The official summary (`evaluation/summary_scores.py` of github.com/djghosh13/geneval) pools all
images: its overall score is the mean over tags of the share of correct images, and a prompt
counts as correct if any of its images is. The Reflect-DiT paper's is the mean over prompts. They
agree only as far as every prompt has as many images as the next, and every tag as many prompts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from harness.analysis.resampling import Floats
from harness.analysis.statistics import Estimate, macro_interval, mean_interval
from harness.errors import HarnessError
from harness.log import damage, store
from harness.log.costs import WORKED, spent
from harness.log.run_folder import RunFolder


@dataclass(frozen=True)
class Scores:
    """Scores of a folder of images. An image that was not scored counts as wrong.

    Attributes:
        tags: By tag: share of correct images, how many images, of how many prompts.
        macro: Mean of these over tags, GenEval's official overall score.
        per_image: Share of correct images, all pooled.
        micro: Mean over prompts of the share of correct images.
        per_prompt: Share of prompts with at least one correct image.
        images: Images there are.
        prompts: Prompts with images.
        refused: Images that were refused or could not be scored, with the reasons.
        flops: Of scoring, over all images; NaN if they were not counted.
        device_seconds: Likewise.
    """

    tags: Mapping[str, tuple[Estimate, int, int]]
    macro: Estimate
    per_image: Estimate
    micro: Estimate
    per_prompt: Estimate
    images: int
    prompts: int
    refused: tuple[str, ...]
    flops: float
    device_seconds: float


def summarise_scores(folder: RunFolder) -> Scores:
    """Summarise the scored images of a run folder.

    Raises:
        HarnessError: The log is damaged, or holds nothing yet.
    """
    damage.check(folder)
    columns = ["prompt_id", "tag", "error", *WORKED, "scorer_flops", "scorer_device_seconds"]
    table = store.read(folder.log, "candidates", columns)
    frame: pd.DataFrame = table.to_pandas()
    if frame.empty:
        raise HarnessError(f"{folder.path} holds no scored image yet")
    frame["correct"] = frame["correct"].eq(True)
    grouped = frame.groupby(["tag", "prompt_id"], sort=True)["correct"]
    counts = grouped.agg(right="sum", images="size", any="any").reset_index()
    by_tag = {str(tag): part for tag, part in counts.groupby("tag", sort=True)}
    tags = {
        tag: (_pooled(part), int(part["images"].sum()), len(part)) for tag, part in by_tag.items()
    }
    return Scores(
        tags=tags,
        macro=_clipped(macro_interval([_linear(part).tolist() for part in by_tag.values()])),
        per_image=_pooled(counts),
        micro=mean_interval((counts["right"] / counts["images"]).tolist()),
        per_prompt=mean_interval(counts["any"].astype(float).tolist()),
        images=len(frame),
        prompts=len(counts),
        refused=tuple(frame["error"].dropna()),
        flops=float(spent(table, "scorer", "flops", judged=False).sum()),
        device_seconds=float(frame["scorer_device_seconds"].sum()),
    )


def _pooled(counts: pd.DataFrame) -> Estimate:
    """Share of correct images over some prompts, which are what is resampled."""
    return _clipped(mean_interval(_linear(counts).tolist()))


def _linear(counts: pd.DataFrame) -> Floats:
    """Numbers a prompt whose mean is the share of correct images.

    With equal counts they are the prompts' own shares. Otherwise the share is a ratio of two
    sums, and these are its linearisation, whose spread is the ratio's to first order
    (Cochran, Sampling Techniques, chapter 6).
    """
    right, images = (counts[name].to_numpy(dtype=float) for name in ("right", "images"))
    share = right.sum() / images.sum()
    values: Floats = share + (right - share * images) / images.mean()
    return values


def _clipped(found: Estimate) -> Estimate:
    value, low, high = np.clip([found.value, found.low, found.high], 0.0, 1.0).tolist()
    return Estimate(value, low, high, found.method)
