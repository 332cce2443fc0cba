"""`resume`: carry on with a run that was stopped, from its own manifest."""

from __future__ import annotations

from typing import Any

import click

from harness.cli.options import (
    execution_options,
    plugins_option,
    price_options,
    resolve,
    reuse_option,
    track_option,
)
from harness.errors import UsageError
from harness.log.run_folder import RunFolder
from harness.price import Price


@click.command()
@click.argument("run", type=RunFolder.existing)
@reuse_option
@track_option
@price_options
@execution_options
@plugins_option
def resume(run: RunFolder, price: Price, execution: dict[str, Any], **beside: Any) -> int:
    """Carry on with the run in the folder RUN.

    What to do comes from the run's manifest; only where to do it can be chosen anew. Nothing
    that the log holds is made again.
    """
    from harness.cli.execute import execute
    from harness.cli.show import show_run
    from harness.config import RECORDED_IMAGES, read_config
    from harness.interop.plan import is_scoring
    from harness.log.manifest import FINISHED, Manifest
    from harness.log.prompts import stored_prompts
    from harness.plan import replan

    manifest = Manifest.read(run.manifest)
    if manifest.config["generator"]["kind"] == RECORDED_IMAGES:
        # Its images come from elsewhere, and only the command says where.
        if manifest.state == FINISHED:
            click.echo(f"already finished: {run.path}", err=True)
            return show_run(run, price)
        if is_scoring(manifest.config):
            raise UsageError(
                f"{run.path} holds scores of images, which the same command goes on with",
                manifest.command,
            )
        raise UsageError(
            f"{run.path} is an import that was stopped, and imports are done in one go",
            f"remove {run.path}, then: {manifest.command}",
        )
    ready = replan(read_config(manifest.config), stored_prompts(run, manifest) or ())
    return execute(ready, resolve(**execution), run, price=price, **beside)
