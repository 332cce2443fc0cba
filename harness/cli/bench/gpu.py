"""`bench gpu`: full-size models with random weights."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("gpu")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--size", type=click.Choice(["full", "tiny"]), default="full", show_default=True,
              help="tiny: the same parts, small enough to try the road on a CPU.")  # fmt: skip
@click.option("--prompts", type=click.IntRange(min=1), default=4, show_default=True)
@click.option("--budget", type=click.IntRange(min=1), default=4, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--batch-size", type=click.IntRange(min=1), help="Images of a batch.")
@click.option(
    "--compile", "compiled", is_flag=True, help="Put SANA's denoiser through torch.compile."
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto",
              show_default=True)  # fmt: skip
def gpu(
    folder: Path,
    size: str,
    prompts: int,
    budget: int,
    rounds: int,
    batch_size: int | None,
    compiled: bool,
    device: str,
) -> None:
    """Measure SANA 1.6B, Reflect-DiT, Qwen2.5-VL 3B and Mask2Former with random weights.

    Checkpoints of the full size (about 25 GB) are drawn once and kept in FOLDER, together with
    two suites that all other commands take: sana.toml and reflect-dit.toml. Speed and memory
    are real, pictures and verdicts mean nothing.
    """
    from harness.bench.engine import Side
    from harness.bench.gpu import measure_gpu
    from harness.bench.sizes import FULL, TINY
    from harness.engine.devices import device_name, has_gpu
    from harness.errors import UsageError

    if device == "auto":
        device = "cuda" if has_gpu(None) else "cpu"
    if device == "cpu" and size == "full":
        raise UsageError(
            "full-size models on a CPU would take days", "use a GPU, or --size tiny to try the road"
        )
    found = measure_gpu(
        folder,
        FULL if size == "full" else TINY,
        device=device,
        prompts=prompts,
        budget=budget,
        rounds=rounds,
        batch_size=batch_size,
        compiled=compiled,
        say=lambda text: click.echo(f"{text} …", err=True),
    )

    def line(name: str, side: Side, against: Side | None = None) -> None:
        ratio = "" if against is None else f"   {side.ratio(against):5.2f}×"
        click.echo(f"  {name:<22} {side.per_second:8.3f} images/s{ratio}")

    sana = found.sana
    click.echo(
        f"{size} size, random weights, {device_name(device)}, {sana.bare.images} images, "
        f"{rounds} rounds{', compiled' if compiled else ''}"
    )
    click.echo("SANA alone")
    line("bare loop", sana.bare)
    line("engine", sana.inline, sana.bare)
    click.echo("SANA with the judge")
    line("one at a time", sana.single)
    line("engine", sana.judged, sana.single)
    whole = sum(found.seconds.values())
    click.echo(f"Reflect-DiT, {found.draws} draws: {whole:.3f} s a draw")
    for role, seconds in found.seconds.items():
        click.echo(f"  {role:<10} {seconds:8.3f} s  {seconds / whole:.0%}")
    if found.memory_bytes:
        click.echo(f"  all models together held {found.memory_bytes / 2**30:.1f} GB at most")
