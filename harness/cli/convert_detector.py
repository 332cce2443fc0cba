"""`convert-detector`: GenEval's official detector, read without mmdet."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.options import PATH


@click.command("convert-detector")
@click.argument("checkpoint", type=PATH)
@click.option("--out", type=PATH, required=True,
              help="The detector's folder; must be new or empty.")  # fmt: skip
def convert_detector(checkpoint: Path, out: Path) -> None:
    """Convert CHECKPOINT, an mmdet Mask2Former .pth file (2.x or 3.x), to transformers' format.

    Neither mmdet nor the code that a pickle may carry is run. Every weight of the file is used
    exactly once and every parameter is filled exactly once, or nothing is written.
    """
    from harness.interop.export import check_free

    check_free(out)
    click.echo(f"reading {checkpoint} …", err=True)
    from benchmarks.geneval.detectors.mmdet.convert import convert

    done = convert(checkpoint, out)
    click.echo(
        f"{done.folder}: {done.tensors} tensors of {done.layout}, each used once; "
        f"{done.parameters / 1e6:.1f} million parameters"
    )
