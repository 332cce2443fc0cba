"""`show`: print what a run came to, finished or not."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Print what a run came to.")
@click.argument("run", type=click.Path(path_type=Path))
def show(run: Path) -> None:
    """Print scores with intervals, failures and costs of the run in the folder RUN."""
    from harness.cli.score_view import show_scores
    from harness.cli.summary_view import print_summary
    from harness.log.manifest import Manifest
    from harness.log.run_folder import RunFolder
    from harness.scoring.plan import is_scoring

    folder = RunFolder.existing(run)
    if is_scoring(Manifest.read(folder.manifest).config):
        show_scores(folder)
    else:
        print_summary(folder)
