"""`ls`: what there is to choose from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from harness.cli.options import PATH, price_options
from harness.cli.terminal import printable
from harness.errors import UsageError
from harness.log.run_folder import find_runs
from harness.price import Price

PLUGINS = ("strategies", "benchmarks", "generators", "judges", "metrics")


@click.command()
@click.argument("what", type=click.Choice([*PLUGINS, "suites", "models", "runs"]))
@click.argument("folder", required=False, type=PATH)
@click.option("--root", type=PATH, default=Path("results"), hidden=True)
@click.option("--sort", type=click.Choice(["name", "score", "cost", "date"]), default="name",
              help="Runs: by name, or the best, the cheapest or the newest first.")  # fmt: skip
@click.option("-v", "--verbose", is_flag=True,
              help="Judges and metrics with what their checkpoints were trained on.")  # fmt: skip
@price_options
def ls(what: str, folder: Path | None, root: Path, sort: str, verbose: bool, price: Price) -> None:
    """List what is installed here (third-party packages included), or the runs under FOLDER.

    Runs are looked for under results/ if no FOLDER is given. For suites (or models, the same), each
    checkpoint's place is shown, or where it was looked for.
    """
    if folder is not None and what != "runs":
        raise UsageError(f"{what} are not looked for in a folder", f"leave {folder} out")
    if what in ("models", "suites"):
        _models()
    elif what == "runs":
        _runs(folder or root, sort, price)
    else:
        _plugins(what, verbose)


def _plugins(what: str, verbose: bool) -> None:
    from harness import registry
    from harness.models.provenance import card
    from harness.options import describe

    kind: registry.Registry = getattr(registry, what.upper())
    for name in kind.names():
        plugin = kind.get(name)
        summary = (plugin.__doc__ or "").strip().partition("\n")[0]
        # Strategies and benchmarks are their options; models have them beside.
        options = plugin if hasattr(plugin, "__dataclass_fields__") else None
        options = getattr(plugin, "Settings", options)
        click.echo(
            f"{name}\n    {summary}\n    options: {describe(options) if options else 'none'}"
        )
        for part, reference in getattr(plugin, "checkpoints", {}).items():
            click.echo(f"    {part}: {reference}")
            if verbose and part != "processor":
                click.echo(f"        {card(reference).line}")
        if verbose and what == "judges":
            click.echo(f"    {_training(plugin)}")


def _training(judge: Any) -> str:
    """Return what a judge was trained on, or where that is said."""
    from harness.models.provenance import card

    if getattr(judge, "is_remote", False):
        return card("endpoint:").line
    if getattr(judge, "main_part", ""):
        return "trained on what its checkpoint was: `show` and reports have its card"
    return "has no training of its own: its members or the scorer have theirs"


def _models() -> None:
    from harness.models.suites import load_suite, overview
    from harness.registry import SUITES

    for name in SUITES.names():
        suite = load_suite(name)
        click.echo(f"{name}\n    {suite.title}")
        for role, part, located in overview(suite):
            place = "missing" if located.path is None else str(located.path)
            click.echo(f"    {role:<9} {part:<9} {located.ref}: {place}")
            if located.path is None:
                click.echo("".join(f"        looked in {p}\n" for p in located.looked), nl=False)


def _runs(root: Path, sort: str, price: Price) -> None:
    """Print a line a run; one that cannot be read is a line that says why."""
    from harness.runs.run_line import SORTED_BY, run_line

    runs = find_runs(root)
    if not runs:
        click.echo(f"no runs under {root}", err=True)
        return
    head = ("run", "state", "made", "searches", "micro, 95% interval", "cost", "seed", "what")
    lines = sorted((run_line(run, price) for run in runs), key=SORTED_BY[sort])
    rows = [head, *(tuple(map(printable, line.cells)) for line in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        click.echo("  ".join([*cells, row[-1]]))
