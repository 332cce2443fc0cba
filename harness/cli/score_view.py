"""Scores of a folder of images as a person reads them, on stdout."""

from __future__ import annotations

import math
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.analysis.statistics import Estimate
from harness.log import store
from harness.log.location import local
from harness.log.manifest import FINISHED, Manifest
from harness.log.run_folder import RunFolder
from harness.scoring.files import read_files
from harness.scoring.plan import MMDET
from harness.scoring.results import RESULTS
from harness.scoring.scores import Scores, summarise_scores


def print_scores(folder: RunFolder, results: Path) -> Scores:
    """Summarise a folder of scored images and print it."""
    scores = summarise_scores(folder)
    config = Manifest.read(folder.manifest).config
    console = Console(highlight=False, soft_wrap=True)
    if config["miniature"]:
        console.print("miniature scorer: it knows the miniature's drawings, not photographs")
    console.print(_table(scores))
    scored = scores.images - len(scores.refused)
    seconds = scores.device_seconds
    speed = f", {scored / seconds:.1f} images a device-second" if seconds else ""
    flops = scores.flops / 1e12
    counted = "FLOPs not counted" if math.isnan(flops) else f"{flops:.3g} TFLOPs"
    own = f"{results} (GenEval's format), " if results.exists() else ""
    spec = config["scorer"]
    parts = ", ".join(f"{part} {ref}" for part, ref in spec["checkpoints"].items())
    original = " (run by mmdet)" if spec["settings"].get("backend") == MMDET else ""
    for line in (
        f"models    {parts}{original}; {spec['dtype']}, batches of {spec['batch_size']}",
        f"images    {scored} of {scores.images} scored, {len(scores.refused)} not (counted as "
        f"wrong), of {scores.prompts} prompts",
        f"scorer    {seconds:.1f} device-s, {counted}{speed}",
        f"results   {own}{folder.log} (Parquet)",
    ):
        console.print(Text(line))
    return scores


def show_scores(folder: RunFolder) -> None:
    """Print what a folder of scored images has come to, and how to go on if it is not finished."""
    manifest = Manifest.read(folder.manifest)
    done = store.read(folder.log, "candidates", ["prompt_id"]).num_rows
    if done:
        print_scores(folder, local(folder.path) / RESULTS)
    if manifest.state != FINISHED:
        total = len(read_files(folder))
        click.echo(f"unfinished {done} of {total} images are done")
        click.echo(f"go on with {manifest.command}")


def _table(scores: Scores) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("", "score", "95% interval", "images", "prompts", "method"):
        table.add_column(name, justify="left" if name in ("", "method") else "right")

    def add(name: str, found: Estimate, images: int, prompts: int, style: str = "") -> None:
        interval = f"{found.low:.3f}–{found.high:.3f}"
        cells = (f"{found.value:.3f}", interval, str(images), str(prompts), found.method)
        table.add_row(name, *cells, style=style)

    for tag, (found, images, prompts) in scores.tags.items():
        add(tag or "(no tag)", found, images, prompts)
    for name, found, style in (
        ("macro (official: mean over tags)", scores.macro, "bold"),
        ("micro (mean over prompts)", scores.micro, "bold"),
        ("per image (all images pooled)", scores.per_image, ""),
        ("per prompt (any image correct)", scores.per_prompt, ""),
    ):
        add(name, found, scores.images, scores.prompts, style)
    return table
