"""Scores of a folder of images as a person reads them, on stdout."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from harness.analysis.evidence import skills_line
from harness.cli.summary_view import spent_line
from harness.cli.tables import metric_line, scores_table
from harness.cli.terminal import say
from harness.interop.plan import MMDET
from harness.interop.results import OFFICIAL, read_files
from harness.interop.scores import Scores, Share, summarise_scores
from harness.log import store
from harness.log.location import local
from harness.log.manifest import FINISHED, Manifest
from harness.log.run_folder import RunFolder
from harness.models import leakage, provenance
from harness.models.bundled import label
from harness.price import UNPRICED, Price
from harness.runs.measurement import GENEVAL, covered
from harness.runs.summary import summarise
from harness.runs.wording import n_of


def print_scores(folder: RunFolder, results: Sequence[Path], price: Price = UNPRICED) -> Scores:
    """Summarise a folder of scored images and print it, with what scoring cost at a price."""
    scores = summarise_scores(folder)
    manifest = Manifest.read(folder.manifest)
    config, summary = manifest.config, summarise(folder.path)
    say(*filter(None, [label(config)]), *leakage.notices(summary.verifying))
    name = config["benchmark"]["name"]
    Console(highlight=False, soft_wrap=True).print(_table(scores, name))
    everything = scores.per_image
    left_out = everything.images - everything.scored
    seconds = scores.device_seconds
    speed = f", {everything.scored / seconds:.1f} images a device-second" if seconds else ""
    flops = scores.flops / 1e12
    counted = "FLOPs not counted" if math.isnan(flops) else f"{flops:.3g} TFLOPs"
    own = "".join(f"{path} ({name}'s format), " for path in results)
    spec = config["scorer"]
    parts = ", ".join(f"{part} {ref}" for part, ref in spec["checkpoints"].items())
    original = " (run by mmdet)" if spec["settings"].get("backend") == MMDET else ""
    say(
        f"models    {parts}{original}; {spec['dtype']}, batches of {spec['batch_size']}",
        f"images    {everything.scored} of {everything.images} scored, of {everything.prompts} "
        f"prompts{f'; {left_out} not scored, and in no score' if left_out else ''}",
        *skills_line(folder, manifest, selected=False),
        *covered(folder, manifest),
        *(metric_line(*each) for each in summary.metrics.items()),
        *(f"verifier  {line}" for line in provenance.lines(summary.verifying)),
        f"scorer    {seconds:.1f} device-s, {counted}{speed}",
        spent_line(summary, price),
        f"results   {own}{folder.log} (Parquet)",
        *([] if everything.scored else [f"nothing could be scored: {scores.refused[0]}"]),
    )
    return scores


def show_scores(folder: RunFolder, price: Price = UNPRICED) -> int:
    """Print what a folder of scored images has come to, and how to go on if it is not finished.

    Returns the exit code: 1 if there are images and none could be scored.
    """
    manifest = Manifest.read(folder.manifest)
    done = store.read(folder.log, "candidates", ["prompt_id"]).num_rows
    known = [path for name in OFFICIAL if (path := local(folder.path) / name).exists()]
    unscored = done and not print_scores(folder, known, price).per_image.scored
    if manifest.state != FINISHED:
        total = len(read_files(folder))
        click.echo(f"unfinished {done} of {total} images are done")
        click.echo(f"go on with {manifest.command}")
    return 1 if unscored else 0


def _table(scores: Scores, benchmark: str) -> Table:
    known = sum(of.estimate is not None for of in scores.tags.values())
    tags = "tags" if known in (0, len(scores.tags)) else f"{known} of {len(scores.tags)} tags"
    macro = f"macro (official: mean over {tags})", "micro (mean over prompts)"
    micro = f"macro (mean over {tags})", "micro, the official score"
    names = macro if benchmark == GENEVAL else micro
    rows = [(tag or "(no tag)", of.estimate, _over(of), "") for tag, of in scores.tags.items()]
    rows += [
        (name, estimate, _over(scores.per_image), style)
        for name, estimate, style in (
            (names[0], scores.macro, "bold"),
            (names[1], scores.micro, "bold"),
            ("per image (all images pooled)", scores.per_image.estimate, ""),
            ("per prompt (any image correct)", scores.per_prompt, ""),
        )
    ]
    return scores_table(["images", "prompts"], rows)


def _over(of: Share) -> list[str]:
    return [n_of(of.scored, of.images), n_of(of.scored_prompts, of.prompts)]
