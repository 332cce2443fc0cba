"""`show`: print what a run came to, finished or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from harness.cli.places import RunPlace, plugins_option

if TYPE_CHECKING:
    from harness.log.location import Location
    from harness.log.run_folder import RunFolder


@click.command(short_help="Print what a run came to.")
@click.argument("run", type=RunPlace())
@plugins_option
def show(run: Location) -> int:
    """Print scores with intervals, failures and costs of the run in the folder RUN.

    Exits with 1 if nothing of it could be scored.
    """
    from harness.log.run_folder import RunFolder

    return show_run(RunFolder.existing(run))


def show_run(folder: RunFolder) -> int:
    """Print what a run, or a folder of scored images, came to.

    Returns:
        The exit code: 1 if nothing of it could be scored.
    """
    from harness.cli.score_view import show_scores
    from harness.cli.summary_view import print_summary
    from harness.interop.plan import is_scoring
    from harness.log.manifest import Manifest

    if is_scoring(Manifest.read(folder.manifest).config):
        return show_scores(folder)
    return 1 if print_summary(folder).nothing_scored else 0
