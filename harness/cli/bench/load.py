"""`bench load`: a long run without models."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("load")
@click.option("--candidates", type=click.IntRange(min=200), default=100_000, show_default=True)
@click.option("--latency", type=click.FloatRange(min=0), default=0.01, show_default=True,
              help="Seconds that every batch of eight takes.")  # fmt: skip
@click.option("--scorer-latency", type=click.FloatRange(min=0),
              help="The scorer's, if it is another: does a slow one fill memory?")  # fmt: skip
def load(candidates: int, latency: float, scorer_latency: float | None) -> None:
    """Stop and resume a long run of pretended models; memory of the driver, time to resume.

    Every draw has an image of its own, of some 20 KB, which is written and removed again as a
    real run's would be.
    """
    import tempfile

    from harness.bench.load import STOPPED_AT, measure_load
    from harness.cli.count_display import count_display

    with tempfile.TemporaryDirectory() as folder, count_display("draws") as observe:
        found = measure_load(
            Path(folder) / "run",
            candidates=candidates,
            latency=latency,
            scorer_latency=scorer_latency,
            observe=observe,
        )
    mega = 2**20
    growth = (found.late_bytes - found.early_bytes) / mega
    click.echo(
        f"{found.candidates} candidates in {found.seconds:.1f} s "
        f"({found.candidates / found.cpu_seconds:.0f} a second of processor time)\n"
        f"memory of the driver: {found.start_bytes / mega:.0f} MB at the start, "
        f"{found.early_bytes / mega:.0f} MB after a tenth, at most "
        f"{found.late_bytes / mega:.0f} MB until the stop ({growth:+.1f} MB), "
        f"{found.peak_bytes / mega:.0f} MB while shards are merged\n"
        f"stopped at {STOPPED_AT:.0%}; resumed to the first new candidate in "
        f"{found.resume_seconds:.1f} s\n"
        f"log: {found.shards[0]} shards, merged into {found.shards[1]}; "
        f"{found.log_bytes / found.candidates:.0f} bytes a row"
    )
