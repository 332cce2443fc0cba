"""`show`: print what a run came to, finished or not."""

from __future__ import annotations

import click

from harness.cli.options import plugins_option, price_options
from harness.errors import UsageError
from harness.log.run_folder import RunFolder
from harness.price import UNPRICED, Price


@click.command()
@click.argument("run", type=RunFolder.existing)
@click.option("--json", "as_json", is_flag=True,
              help="For programs: one JSON object, see the docs.")  # fmt: skip
@price_options
@plugins_option
def show(run: RunFolder, as_json: bool, price: Price) -> int:
    """Print scores with intervals, failures and costs of the run in the folder RUN.

    Exits with 1 if nothing of it could be scored.
    """
    if as_json and price != UNPRICED:
        raise UsageError("--json has costs and no prices", "leave --price out, or --json")
    return _print_json(run) if as_json else show_run(run, price)


def _print_json(folder: RunFolder) -> int:
    import json

    from harness.interop.plan import is_scoring
    from harness.interop.scores import summarise_scores
    from harness.runs.run_line import state_of
    from harness.runs.summary import as_json, estimate, summarise

    summary = summarise(folder.path)
    state = state_of(folder, summary.manifest)
    fields = as_json(summary, str(folder.path), state)
    if is_scoring(summary.manifest.config) and summary.searches:
        of = summarise_scores(folder)
        fields["scores"] |= {
            # Of images that came from elsewhere: over images, as `show` and the official summary.
            "macro": estimate(of.macro),
            "per_image": estimate(of.per_image.estimate),
            "per_prompt": estimate(of.per_prompt),
        }
        fields["images"] = {"total": of.per_image.images, "scored": of.per_image.scored}
    click.echo(json.dumps(fields, indent=1, allow_nan=False))
    return 1 if summary.nothing_scored else 0


def show_run(folder: RunFolder, price: Price = UNPRICED) -> int:
    """Print what a run, or a folder of scored images, came to.

    Returns the exit code: 1 if nothing of it could be scored.
    """
    from harness.cli.summaries import print_summary, show_scores
    from harness.interop.plan import is_scoring
    from harness.log.manifest import Manifest

    if is_scoring(Manifest.read(folder.manifest).config):
        return show_scores(folder, price)
    return 1 if print_summary(folder, price).nothing_scored else 0
