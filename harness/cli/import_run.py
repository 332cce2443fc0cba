"""`import`: what other programs produced, as a run."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.options import PATH, price_options
from harness.cli.recorded import recorded_command
from harness.cli.terminal import say
from harness.log.run_folder import RunFolder
from harness.price import Price


@click.command("import")
@click.argument("source", type=PATH, metavar="DIR")
@click.option("--format", "layout", type=click.Choice(["reflect-dit"]), required=True,
              help="Which program's folders they are.")  # fmt: skip
@click.option("--out", type=PATH, required=True, metavar="RUN",
              help="The run's folder; must be new or empty.")  # fmt: skip
@click.option("--images/--no-images", default=True, help="Whether images are copied into the run.")
@price_options
def import_run(source: Path, layout: str, out: Path, images: bool, price: Price) -> int:
    """Import DIR, the output folder of the official Reflect-DiT script, into a run.

    It reads `00012/metadata.jsonl` and `00012/samples/00003.png.feedback.json`, of GenEval's
    prompts, DPG-Bench's and one's own. Scores follow the published analysis: the last image
    counts, carried forward after acceptance. Exits with 1 if something was missing or could not be
    read; that is named, and the rest is imported.
    """
    from harness.cli.display import count_display
    from harness.cli.execute import stoppable
    from harness.cli.summaries import print_summary
    from harness.interop.importing import import_reflect_dit, row_of_budgets

    folder = RunFolder(out)
    command = recorded_command()
    again = f"imports are done in one go: remove {out}, then: {command}"
    with stoppable(again) as stop, count_display("prompts") as observe:
        imported = import_reflect_dit(
            source, folder, command=command, keep_images=images, observe=observe, stop=stop
        )
    summary = print_summary(folder, price)
    row = row_of_budgets(folder) if summary.micro else {}
    if row:
        click.echo("micro at  " + ", ".join(f"N={n} {score:.4f}" for n, score in row.items()))
    if summary.manifest.config["scorer"] is None:
        click.echo("not GenEval's prompts, so the script's own verdicts are no score", err=True)
    if imported.shares:
        click.echo(
            f"scores of {imported.shares} draws are shares between 0 and 1, as DPG-Bench's: left "
            "unknown; the judge's verdicts are imported",
            err=True,
        )
    if imported.refused:
        click.echo(
            f"metadata of {imported.refused} of {imported.searches} searches is no good: they have "
            "verdicts and are in no score",
            err=True,
        )
    say(*imported.warnings, prefix="warning: ", err=True)
    if imported.surplus:
        click.echo(f"left out: {imported.surplus} images after an accepted one", err=True)
    say(*imported.problems, prefix="problem: ", err=True)
    return 1 if imported.problems else 0
