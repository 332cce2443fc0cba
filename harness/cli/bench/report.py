"""`bench report`: what a report of a big run costs."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("report")
@click.option("--prompts", type=click.IntRange(min=6), default=553, show_default=True)
@click.option("--draws", type=click.IntRange(min=1), default=2048, show_default=True,
              help="Draws of each prompt.")  # fmt: skip
def report(prompts: int, draws: int) -> None:
    """Make up a run and measure its report, start of Python to last file, in its own process."""
    import tempfile

    from harness.report.bench import bench_report

    with tempfile.TemporaryDirectory() as folder:
        found = bench_report(Path(folder), prompts, draws)
    click.echo(
        f"{found.rows} candidates ({found.megabytes} MB of log): {found.seconds} s, "
        f"{found.cpu_seconds} s of processor time, {found.peak_megabytes} MB at most"
    )
