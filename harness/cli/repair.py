"""`repair`: keep the intact rest of a damaged run."""

from __future__ import annotations

import click

from harness.cli.recorded import recorded_command, resume_command
from harness.cli.terminal import say
from harness.log.run_folder import RunFolder


@click.command()
@click.argument("run", type=RunFolder.existing)
def repair(run: RunFolder) -> None:
    """Say what is damaged in the log of the run in the folder RUN, and set it aside.

    Damaged files are moved to RUN/damaged; nothing is deleted. The run's prompts are written again
    if the benchmark, or the file that they came from, still gives them. What is intact stays as an
    unfinished run, of which `show`, `report` and so on say n of N, and which `resume` completes:
    the missing draws are made again, and come out the same. So are draws whose image is damaged,
    or is gone and may be needed by a search that has not ended.
    """
    import os
    import socket

    from harness.interop.importing import SUITE as IMPORTED
    from harness.interop.plan import is_scoring
    from harness.log.manifest import Manifest
    from harness.log.repair import repair as carry_out
    from harness.prompts import repair_prompts

    manifest = Manifest.read(run.manifest)
    command = recorded_command()
    session = {"host": socket.gethostname(), "pid": os.getpid(), "command": command}
    scores = is_scoring(manifest.config)  # images are those of somebody else's folder
    prompts = repair_prompts(run, manifest)
    done = carry_out(run, session, images=not scores)
    say(*prompts, *done.defects)
    if not done.defects:
        if not prompts:
            click.echo(f"nothing is damaged in {run.path}")
        return
    if done.set_aside:
        click.echo(f"set aside  {len(done.set_aside)} files in {done.aside}")
    total = manifest.prompt_set.count * manifest.config["replicates"]
    click.echo(
        f"left       {done.candidates} candidates; {done.searches} of {total} searches have "
        f"ended, {done.reopened} that had are open again"
    )
    if scores:
        click.echo(f"complete   {manifest.command}")
    elif manifest.config["suite"] == IMPORTED:
        click.echo("complete   by importing it again, into another folder")
    else:
        click.echo(f"complete   {resume_command(run.path, manifest.config)}")
