"""Measure this machine's GPU, print a measurement as tables, or write full-size random models."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harness.engine.devices import has_gpu
from harness.errors import HarnessError, UsageError
from tests.perf.gpu.measure import measure_gpu
from tests.perf.gpu.table import markdown, read_measurement
from tests.random_models import write_models
from tests.sizes import FULL, TINY


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("gpu.json"),
              show_default=True, metavar="FILE", help="Where the figures go, as JSON.")  # fmt: skip
@click.option("--part", "parts", multiple=True, metavar="NAME",
              help="Only this part of the measurement; may be repeated.")  # fmt: skip
@click.option("--device", type=click.Choice(["cuda", "cpu"]), default="cuda", show_default=True)
@click.option("--tiny", is_flag=True,
              help="Models of tiny sizes: tries the measurement itself, anywhere.")  # fmt: skip
@click.option("--table", type=click.Path(path_type=Path), metavar="FILE",
              help="Measure nothing; print such a file as Markdown tables.")  # fmt: skip
@click.option("--write-models", "models", type=click.Path(path_type=Path), metavar="FOLDER",
              help="Measure nothing; write the models (25 GB) and suites of them, once, for "
              "`harness bench --model FOLDER/sana.toml` or reflect-dit.toml.")  # fmt: skip
def main(
    out: Path, parts: tuple[str, ...], device: str, tiny: bool, table: Path | None,
    models: Path | None,
) -> int:  # fmt: skip
    """Measure this machine's GPU with models of random weights.

    Nothing is downloaded or installed. What doctor says; whether a small run agrees with the CPU;
    images a second, memory and ways of running of SANA 1.6B, Reflect-DiT, Qwen2.5-VL 3B,
    Mask2Former Swin-S and CLIP-L at 1024 pixels; whether a row's bits depend on its batch; what
    roles gain by sharing the GPU. Some five minutes by estimate on a GPU of the H100's class;
    every part has a time limit, and one that fails leaves the others alone.
    """
    if table is not None:
        click.echo(markdown(read_measurement(table)), nl=False)
        return 0
    if device == "cuda" and not has_gpu(None):
        raise UsageError("no CUDA device was found", "--device cpu --tiny tries the measurement")
    if device == "cpu" and not tiny:
        raise UsageError("full-size models would take days on a CPU", "add --tiny")
    scale = TINY if tiny else FULL

    def observe(line: str) -> None:
        click.echo(line, err=True)

    if models is not None:
        for suite in write_models(models, scale, device=device, observe=observe):
            click.echo(suite)
        return 0
    content = measure_gpu(scale, device, out, parts=parts, observe=observe)
    click.echo(markdown(read_measurement(out)), nl=False)
    click.echo(f"results   {out}", err=True)
    return 1 if any(part["error"] for part in content["parts"].values()) else 0


if __name__ == "__main__":
    try:
        sys.exit(main(standalone_mode=False))
    except HarnessError as error:
        sys.exit(f"error: {error.message}\nhint: {error.hint}")
