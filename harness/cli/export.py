"""`export`: a run's images and draws for other people's tools."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.options import PATH, plugins_option
from harness.cli.terminal import say
from harness.log.run_folder import RunFolder

SELECTED, TABLE = ("geneval", "dpg-bench"), "csv"


@click.command()
@click.argument("run", type=PATH)
@click.option("--format", "layout", type=click.Choice([*SELECTED, "hf-dataset", "fiftyone", TABLE]),
              default="geneval",
              help="geneval, dpg-bench: selected images, as these benchmarks' evaluators read "
              "them. hf-dataset, fiftyone: all images that were kept, with verdicts and scores. "
              "csv: all draws.")  # fmt: skip
@click.option("--out", type=PATH, required=True,
              help="The folder to write, new or empty; for csv it may be a file.")  # fmt: skip
@plugins_option
def export(run: Path, layout: str, out: Path) -> int:
    """Write what RUN drew for other tools.

    geneval: `00000/metadata.jsonl` and `00000/samples/0000.png`, one sample a replicate, as
    GenEval's evaluator and `score` read them. dpg-bench: one file a prompt, a grid of two by two
    for a run of four replicates. hf-dataset: a folder that `datasets.load_dataset` opens.
    fiftyone: a COCODetectionDataset. csv: a row a draw, no cell a formula. Exits with 1 if an
    image is missing.
    """
    from harness.cli.display import count_display
    from harness.interop.dataset import export_dataset
    from harness.interop.draws import export_csv
    from harness.interop.export import export as export_selected
    from harness.log.frame import load_searches
    from harness.log.manifest import Manifest
    from harness.models.bundled import label

    missing: tuple[str, ...] = ()
    if layout == TABLE:
        path, rows = export_csv(run, out)
        click.echo(f"{path}: {rows} draws")
    else:
        write = export_selected if layout in SELECTED else export_dataset
        with count_display("images") as observe:
            done = write(run, out, layout, observe=observe)
        missing = done.missing
        say(*missing, prefix="missing: ", err=True)
        click.echo(f"{out}: {done.images} images of {done.prompts} prompts, {len(missing)} missing")
    manifest = Manifest.read(RunFolder.existing(run).manifest)
    if text := label(manifest.config):
        click.echo(text)
    total = manifest.prompt_set.count * manifest.config["replicates"]
    if (ended := len(load_searches(run))) < total and layout in SELECTED:
        click.echo(f"unfinished: {ended} of {total} searches have ended", err=True)
    return 1 if missing else 0
