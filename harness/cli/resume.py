"""`resume`: carry on with a run that was stopped, from its own manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from harness.cli.execution import execution_options, reuse_option
from harness.cli.places import RunPlace

if TYPE_CHECKING:
    from harness.log.location import Location


@click.command(short_help="Carry on with a run that was stopped.")
@click.argument("run", type=RunPlace())
@reuse_option
@execution_options
def resume(run: Location, reuse: tuple[Location, ...], execution: dict[str, Any]) -> int:
    """Carry on with the run in the folder RUN.

    What to do comes from the run's manifest; only where to do it can be chosen anew. Nothing
    that the log holds is made again.
    """
    from harness.cli.drive import drive
    from harness.cli.execution import resolve
    from harness.config import read_config
    from harness.errors import UsageError
    from harness.log.manifest import FINISHED, Manifest
    from harness.log.run_folder import RunFolder
    from harness.plan import replan
    from harness.scoring.plan import is_scoring

    folder = RunFolder.existing(run)
    manifest = Manifest.read(folder.manifest)
    if is_scoring(manifest.config):
        # Its images lie elsewhere, and only the command says where.
        if manifest.state != FINISHED:
            raise UsageError(
                f"{run} holds scores of images, which the same command goes on with",
                manifest.command,
            )
        click.echo(f"already finished: {run}", err=True)
        return 0
    pool = [RunFolder.existing(place) for place in reuse]
    ready = replan(read_config(manifest.config))
    return drive(ready, resolve(execution), folder, reuse=pool)
