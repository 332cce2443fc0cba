"""`bench engine`: what the engine costs, and what it gains."""

from __future__ import annotations

import click


@click.command("engine")
@click.option("--model", default="miniature", show_default=True, help="Suite to run.")
@click.option("--prompts", type=click.IntRange(min=1), default=8, show_default=True)
@click.option("--budget", type=click.IntRange(min=1), default=4, show_default=True,
              help="Draws of each prompt.")  # fmt: skip
@click.option("--batch-size", type=click.IntRange(min=1), help="Images of a batch.")
@click.option("--rounds", type=click.IntRange(min=1), default=7, show_default=True,
              help="Rounds of each side, after one to warm up.")  # fmt: skip
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--candidates", type=click.IntRange(min=20), default=10_000, show_default=True,
              help="Candidates of a round without models.")  # fmt: skip
@click.option("--ray/--no-ray", "with_ray", default=True, show_default=True)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto",
              show_default=True)  # fmt: skip
def engine(
    model: str,
    prompts: int,
    budget: int,
    batch_size: int | None,
    rounds: int,
    threads: int,
    candidates: int,
    with_ray: bool,
    device: str,
) -> None:
    """Measure the engine against a bare loop, against one image at a time, and without models.

    All sides make the same draws with the same models in the same session and take turns;
    loading is not counted; figures are medians over the rounds.
    """
    from harness.engine.threads import patient_threads

    patient_threads()
    from harness.bench.bookkeeping import measure_bookkeeping
    from harness.bench.engine import Side, measure
    from harness.cli.count_display import count_display
    from harness.engine.devices import device_name, has_gpu
    from harness.plan import Ask, plan

    if device == "auto":
        device = "cuda" if has_gpu(None) else "cpu"
    ask = Ask(model=model, limit=prompts, budget=budget, batch_size=batch_size, threads=threads,
              device=device)  # fmt: skip
    ready = plan(ask)
    spec = ready.config.generator
    with count_display("rounds") as observe:
        found = measure(ready, rounds=rounds, device=device, with_ray=with_ray, observe=observe)
    click.echo(
        f"{found.bare.images} images, {rounds} rounds, {model}, {spec.dtype}, batches of "
        f"{spec.batch_size}, {threads} threads, {device_name(device)}"
    )

    def line(name: str, side: Side, against: Side | None = None) -> None:
        ratio = "" if against is None else f"   {side.ratio(against):5.2f}×"
        click.echo(
            f"{name:<22} {side.per_second:7.2f} images/s{ratio:<10}   {side.model_ms:.1f} ms an "
            f"image in models, {side.other_ms:.1f} ms elsewhere: {side.inside:.1%} in models"
        )

    click.echo("generation alone")
    line("  bare loop", found.bare)
    line("  engine, inline", found.inline, found.bare)
    if found.ray is not None and found.bare_ray is not None:
        line("  bare loop, Ray actor", found.bare_ray)
        line("  engine, Ray", found.ray, found.bare_ray)
    click.echo("with the judge")
    line("  one at a time", found.single)
    line("  engine, inline", found.judged, found.single)
    if found.spread is not None:
        line("  engine, Ray, 1 thread", found.spread, found.single)
    click.echo(f"  limited by: the models, {found.judged.inside:.1%} of the engine's time")
    with count_display("rounds") as observe:
        kept = measure_bookkeeping(rounds=rounds, candidates=candidates, observe=observe)
    click.echo("without models, by the second of processor time")
    click.echo(
        f"  searches and scheduler {kept.chained:9.0f} candidates/s drawn one by one, "
        f"{kept.pooled:.0f} all at once"
    )
    click.echo(f"  whole engine           {kept.engine:9.0f} candidates/s, log and images included")
    each = ", ".join(f"{size / n / 1024:.1f} KB ({n} open)" for n, size in kept.search_bytes)
    click.echo(f"  an open search of 10 draws holds {each}")
    log = f"{kept.log_rows:9.0f} rows/s, {kept.row_bytes:.0f} bytes a row"
    click.echo(f"  log                    {log}")
