"""`report`: what runs say, as a page, figures and tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from harness.cli.options import (
    COUNT,
    NATURAL,
    PATH,
    plugins_option,
    price_options,
    separate_seeds_option,
    words,
)
from harness.cli.terminal import say
from harness.log.location import Location, location


@click.command(short_help="Write a page, figures and tables about runs.")
@click.argument("runs", nargs=-1, required=True, type=location, metavar="RUN…")
@click.option("--out", type=PATH, required=True,
              help="Folder for index.html, figures/ and tables/.")  # fmt: skip
@click.option("--force", is_flag=True,
              help="Show runs of unlike protocols side by side, with a warning.")  # fmt: skip
@click.option("--published", is_flag=True,
              help="Draw published points beside miniature models or another benchmark "
              "too.")  # fmt: skip
@click.option("--gallery", default="worst,best,gain,random", callback=words, metavar="WHICH,…",
              help="Prompts to show: of worst, best, gain, random; or all, or none.")  # fmt: skip
@click.option("--gallery-size", type=COUNT, default=6, help="Prompts for each of these.")
@click.option("--gallery-searches", type=COUNT, default=4,
              help="The most searches (replicates, seeds) shown of one prompt and "
              "run.")  # fmt: skip
@separate_seeds_option
@click.option("--seed", type=NATURAL, default=0, help="Of bootstraps and random choices.")
@price_options
@plugins_option
def report(runs: tuple[Location, ...], out: Path, **options: Any) -> int:
    """Write what the runs in the folders RUN… say: scaling curves, costs, comparisons, images.

    The page is one file that needs no network. Runs that differ in nothing but their seed are
    one line: a prompt's score is the mean over its searches under all seeds. Runs measured unlike
    (prompts, resolution, scorer) are refused unless --force is given. Exits with 1 if nothing of
    a run could be scored.
    """
    from harness.cli.display import stage_display
    from harness.report.build import Options
    from harness.report.build import report as build

    with stage_display() as progress:
        done = build(runs, out, Options(**options), progress)
    findings = done.findings
    say(*done.warnings, prefix="warning: ", err=True)
    say(*findings.captions, *findings.bills)
    suffixes = [path.suffix for path in done.files]
    click.echo(f"figures  {suffixes.count('.png')} as PNG and SVG in {out / 'figures'}")
    click.echo(f"tables   {suffixes.count('.csv')} as CSV, Markdown and LaTeX in {out / 'tables'}")
    click.echo(f"page     {done.page} ({done.page.stat().st_size / 2**20:.1f} MiB)")
    say(*findings.unscored, err=True)
    return 1 if findings.unscored else 0
