"""`gpu`: measure this machine's GPU in minutes, and print a measurement as tables."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Measure this machine's GPU with models of random weights.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("gpu.json"),
              show_default=True, metavar="FILE", help="Where the figures go, as JSON.")  # fmt: skip
@click.option("--part", "parts", multiple=True, metavar="NAME",
              help="Only this part of the measurement; may be repeated.")  # fmt: skip
@click.option("--device", type=click.Choice(["cuda", "cpu"]), default="cuda", show_default=True)
@click.option("--tiny", is_flag=True,
              help="Models of tiny sizes: tries the measurement itself, anywhere.")  # fmt: skip
@click.option("--table", type=click.Path(path_type=Path), metavar="FILE",
              help="Measure nothing; print such a file as Markdown tables.")  # fmt: skip
def gpu(out: Path, parts: tuple[str, ...], device: str, tiny: bool, table: Path | None) -> int:
    """Measure this machine's GPU with models of random weights.

    Nothing is downloaded or installed. What doctor says; whether a small run agrees with the CPU;
    images a second, memory and ways of running of SANA 1.6B, Reflect-DiT, Qwen2.5-VL 3B,
    Mask2Former Swin-S and CLIP-L at 1024 pixels; whether a row's bits depend on its batch; what
    roles gain by sharing the GPU. Some five minutes by estimate on a GPU of the H100's class;
    every part has a time limit, and one that fails leaves the others alone.
    """
    from harness.bench.gpu_table import markdown, read_measurement
    from harness.engine.devices import has_gpu
    from harness.errors import UsageError

    if table is not None:
        click.echo(markdown(read_measurement(table)), nl=False)
        return 0
    if device == "cuda" and not has_gpu(None):
        raise UsageError("no CUDA device was found", "--device cpu --tiny tries the measurement")
    if device == "cpu" and not tiny:
        raise UsageError("full-size models would take days on a CPU", "add --tiny")
    from harness.bench.gpu import measure_gpu
    from harness.bench.sizes import FULL, TINY

    content = measure_gpu(
        TINY if tiny else FULL,
        device,
        out,
        parts=parts,
        observe=lambda line: click.echo(line, err=True),
    )
    click.echo(markdown(read_measurement(out)), nl=False)
    click.echo(f"results   {out}", err=True)
    return 1 if any(part["error"] for part in content["parts"].values()) else 0
