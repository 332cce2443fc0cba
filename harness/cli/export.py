"""`export`: a run's selected images for other people's tools."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.places import plugins_option
from harness.cli.terminal import printable


@click.command(short_help="Write a run's selected images in GenEval's layout.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--format", "layout", type=click.Choice(["geneval"]), default="geneval", show_default=True
)
@click.option("--out", type=click.Path(path_type=Path), required=True,
              help="The folder to write; must be new or empty.")  # fmt: skip
@plugins_option
def export(run: Path, layout: str, out: Path) -> int:
    """Write the image that each search of RUN selected, one sample a replicate.

    The layout is `00000/metadata.jsonl` and `00000/samples/0000.png`, as GenEval's evaluator
    and `score` read it. Exits with 1 if a search has no image to write.
    """
    from harness.cli.count_display import count_display
    from harness.interop.export import export as write
    from harness.log.manifest import Manifest
    from harness.log.run_folder import RunFolder
    from harness.models.bundled import label

    with count_display("images") as observe:
        done = write(run, out, observe=observe)
    for line in done.missing:
        click.echo(f"missing: {printable(line)}", err=True)
    click.echo(
        f"{out}: {done.images} images of {done.prompts} prompts, {len(done.missing)} missing"
    )
    manifest = Manifest.read(RunFolder.existing(run).manifest)
    if text := label(manifest.config):
        click.echo(text)
    total = manifest.prompt_set.count * manifest.config["replicates"]
    if (ended := done.images + len(done.missing)) < total:
        click.echo(f"unfinished: {ended} of {total} searches have ended", err=True)
    return 1 if done.missing else 0
