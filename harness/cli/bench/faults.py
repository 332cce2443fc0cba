"""`bench faults`: the driver killed again and again."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("faults")
@click.option("--kills", type=click.IntRange(min=1), default=20, show_default=True,
              help="How often the driver is killed.")  # fmt: skip
@click.option("--prompts", type=click.IntRange(min=1), default=1500, show_default=True)
@click.option("--budget", type=click.IntRange(min=1), default=20, show_default=True,
              help="Draws of each prompt.")  # fmt: skip
@click.option("--latency", type=click.FloatRange(min=0), default=0.01, show_default=True,
              help="Seconds that a pretended batch of eight takes.")  # fmt: skip
@click.option("--model", default="", help="Suite of real models, such as miniature; best-of-n.")
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True,
              help="CPU threads of real models.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True,
              help="Of the moments.")  # fmt: skip
def faults(
    kills: int, prompts: int, budget: int, latency: float, model: str, threads: int, seed: int
) -> int:
    """Kill the driver (SIGKILL) at random moments, resume each time, and compare the logs.

    Models are pretended unless --model names real ones; log, images and lock are real. Exits
    with 1 if the log is not that of the undisturbed run.
    """
    import tempfile

    from harness.bench.driver import Orders
    from harness.bench.faults import measure_faults
    from harness.cli.count_display import count_display

    orders = Orders("", "", prompts, budget, latency, model, threads)
    with tempfile.TemporaryDirectory() as folder, count_display("drivers") as observe:
        found = measure_faults(Path(folder), kills=kills, orders=orders, seed=seed, observe=observe)
    same = found.rows_equal and found.images_equal
    click.echo(
        f"{found.kills} kills of the driver, {found.idle_kills} of them before it drew anything\n"
        f"log       {found.candidates} candidates; "
        f"{'equal to' if found.rows_equal else 'DIFFERS from'} the undisturbed run's\n"
        f"images    {'equal' if found.images_equal else 'DIFFER'}\n"
        f"repeated  {found.repeated} candidates ({found.repeated / found.candidates:.1%}), "
        f"{found.repeated / max(1, found.kills):.0f} a kill\n"
        f"time      {found.seconds:.1f} s in {found.kills + 1} sessions, undisturbed "
        f"{found.whole_seconds:.1f} s; {found.starting_seconds:.1f} s of it starting up"
    )
    return 0 if same else 1
