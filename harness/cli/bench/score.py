"""`bench score`: scoring against a loop over single images."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("score")
@click.argument("images", type=click.Path(path_type=Path))
@click.option("--model", default="miniature", show_default=True, help="Suite with the scorer.")
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Rounds of each side, after one to warm up.",
)
@click.option("--batch-size", type=click.IntRange(min=1), help="Images of a batch.")
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="CPU threads of both sides.",
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto",
              show_default=True)  # fmt: skip
def score(
    images: Path, model: str, rounds: int, batch_size: int | None, threads: int, device: str
) -> None:
    """Score the folder IMAGES (GenEval's layout) by `score` and by a loop over single images.

    Both use the same models in the same process and take turns; loading is not counted, and
    medians over the rounds are printed.
    """
    from harness.bench.score import measure
    from harness.cli.count_display import count_display
    from harness.engine.devices import device_name, has_gpu
    from harness.scoring.plan import ScoringAsk, plan_scoring

    if device == "auto":
        device = "cuda" if has_gpu(None) else "cpu"
    ask = ScoringAsk(images, model=model, batch_size=batch_size, threads=threads, device=device)
    ready = plan_scoring(ask)
    scorer = ready.plan.config.scorer
    assert scorer is not None
    with count_display("rounds") as observe:
        found = measure(ready, rounds=rounds, device=device, observe=observe)
    click.echo(
        f"{found.plain.images} images, {rounds} rounds, {model}, {scorer.dtype}, "
        f"{threads} threads, {device_name(device)}"
    )
    for name, side in (
        ("one at a time", found.plain),
        (f"batches of {scorer.batch_size}", found.ours),
    ):
        click.echo(
            f"{name:<14} {side.per_second:8.1f} images/s   {side.model_ms:.2f} ms an image in the "
            f"scorer, {side.other_ms:.2f} ms elsewhere"
        )
    click.echo(f"ratio          {found.ratio:8.2f}   ({found.unlike} verdicts differ)")
