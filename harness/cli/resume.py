"""`resume`: carry on with a run that was stopped, from its own manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from harness.cli.execution import execution_options


@click.command(short_help="Carry on with a run that was stopped.")
@click.argument("run", type=click.Path(path_type=Path))
@execution_options
def resume(run: Path, execution: dict[str, Any]) -> int:
    """Carry on with the run in the folder RUN.

    What to do comes from the run's manifest; only where to do it can be chosen anew. Nothing
    that the log holds is made again.
    """
    from harness.cli.drive import drive
    from harness.cli.execution import resolve
    from harness.config import read_config
    from harness.log.manifest import Manifest
    from harness.log.run_folder import RunFolder
    from harness.plan import replan

    folder = RunFolder.existing(run)
    ready = replan(read_config(Manifest.read(folder.manifest).config))
    return drive(ready, resolve(execution), folder)
