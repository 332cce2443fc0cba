"""`report`: what runs say, as a page, figures and tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.places import RunPlace, plugins_option, price_options
from harness.cli.terminal import printable

if TYPE_CHECKING:
    from harness.log.location import Location
    from harness.runs.money import Price


@click.command(short_help="Write a page, figures and tables about runs.")
@click.argument("runs", nargs=-1, required=True, type=RunPlace(), metavar="RUN…")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder for index.html, figures/ and tables/.",
)
@click.option(
    "--force", is_flag=True, help="Show runs of unlike protocols side by side, with a warning."
)
@click.option(
    "--published",
    is_flag=True,
    help="Draw published points beside miniature models or another benchmark too.",
)
@click.option(
    "--gallery",
    default="worst,best,gain,random",
    show_default=True,
    metavar="WHICH,…",
    help="Prompts to show: of worst, best, gain, random; or all, or none.",
)
@click.option(
    "--gallery-size",
    type=click.IntRange(min=1),
    default=6,
    show_default=True,
    help="Prompts for each of these.",
)
@click.option(
    "--gallery-searches",
    type=click.IntRange(min=1),
    default=4,
    show_default=True,
    help="The most searches (replicates, seeds) shown of one prompt and run.",
)
@click.option(
    "--separate-seeds",
    is_flag=True,
    help="Keep runs apart that differ in nothing but their seed, instead of pooling them.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True,
              help="Of bootstraps and random choices.")  # fmt: skip
@price_options
@plugins_option
def report(
    runs: tuple[Location, ...],
    out: Path,
    force: bool,
    published: bool,
    gallery: str,
    gallery_size: int,
    gallery_searches: int,
    separate_seeds: bool,
    seed: int,
    price: Price,
) -> int:
    """Write what the runs in the folders RUN… say: scaling curves, costs, comparisons, images.

    The page is one file that needs no network. Runs that differ in nothing but their seed are
    one line: a prompt's score is the mean over its searches under all seeds. Runs measured unlike
    (prompts, resolution, scorer) are refused unless --force is given. Exits with 1 if nothing of
    a run could be scored.
    """
    from harness.cli.display import stage_display
    from harness.report.build import Options
    from harness.report.build import report as build

    choices = tuple(word.strip() for word in gallery.split(",") if word.strip())
    options = Options(
        force=force,
        published=published,
        gallery=choices,
        gallery_size=gallery_size,
        gallery_searches=gallery_searches,
        separate_seeds=separate_seeds,
        seed=seed,
        price=price,
    )
    with stage_display() as progress:
        done = build(runs, out, options, progress)
    for text in done.content.warnings:
        click.echo(f"warning: {printable(text)}", err=True)
    for text in done.content.findings.captions:
        click.echo(printable(text))
    for line in done.content.findings.bills:
        click.echo(printable(line))
    suffixes = [path.suffix for path in done.files]
    click.echo(f"figures  {suffixes.count('.png')} as PNG and SVG in {out / 'figures'}")
    click.echo(f"tables   {suffixes.count('.csv')} as CSV, Markdown and LaTeX in {out / 'tables'}")
    click.echo(f"page     {done.page} ({done.page.stat().st_size / 2**20:.1f} MiB)")
    for sentence in done.content.findings.unscored:
        click.echo(printable(sentence), err=True)
    return 1 if done.content.findings.unscored else 0
