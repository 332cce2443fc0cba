"""`ls`: what there is to choose from."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.terminal import printable

if TYPE_CHECKING:
    from harness.log.manifest import Manifest
    from harness.log.run_folder import RunFolder

LARGEST_LOG = 8 * 2**20
"""Bytes of the largest log that is read for a line of the list, which takes some seconds."""

MOST_PROMPTS = 2000
"""Prompts of the largest run whose interval is computed for it, which takes half a second."""

LONGEST_TEXT = 300


@click.command(short_help="List strategies, benchmarks, models or runs.")
@click.argument("what", type=click.Choice(["strategies", "benchmarks", "models", "runs"]))
@click.option("--root", type=click.Path(path_type=Path), default=Path("results"),
              show_default=True, help="Where to look for runs.")  # fmt: skip
def ls(what: str, root: Path) -> None:
    """List what is installed here (third-party packages included), or the runs under a folder.

    For models, each checkpoint's place is shown, or where it was looked for.
    """
    if what == "models":
        _models()
    elif what == "runs":
        _runs(root)
    else:
        _plugins(what)


def _plugins(what: str) -> None:
    from harness.options import describe
    from harness.registry import BENCHMARKS, STRATEGIES

    registry = STRATEGIES if what == "strategies" else BENCHMARKS
    for name in registry.names():
        plugin = registry.get(name)
        summary = (plugin.__doc__ or "").strip().partition("\n")[0]
        click.echo(f"{name}\n    {summary}\n    options: {describe(plugin)}")


def _models() -> None:
    from harness.models.suites import load_suite, overview
    from harness.registry import SUITES

    for name in SUITES.names():
        suite = load_suite(name)
        click.echo(f"{name}\n    {suite.title}")
        for part in overview(suite):
            place = f"{part.path}" if part.present else "missing"
            click.echo(f"    {part.role:<9} {part.name:<9} {part.ref}: {place}")
            if not part.present:
                click.echo("".join(f"        looked in {p}\n" for p in part.looked), nl=False)


def _runs(root: Path) -> None:
    """Print a line a run; one that cannot be read is a line that says why."""
    from harness.log.run_folder import find_runs

    runs = find_runs(root)
    if not runs:
        click.echo(f"no runs under {root}", err=True)
        return
    head = ("run", "state", "made", "searches", "micro, 95% interval", "seed", "what")
    rows = [head, *(tuple(map(printable, _row(folder))) for folder in runs)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        click.echo("  ".join([*cells, row[-1]]))


def _row(folder: RunFolder) -> tuple[str, ...]:
    from harness.errors import HarnessError
    from harness.log.files import check_entries
    from harness.log.lock import is_held
    from harness.log.manifest import FINISHED, Manifest
    from harness.models.bundled import is_miniature, suite_name

    path, nothing = str(folder.path), ("–",) * 4
    try:
        check_entries(folder.path)
        manifest = Manifest.read(folder.manifest)
        config = manifest.config
        suite = f"{suite_name(config)}{' (miniature)' if is_miniature(config) else ''}"
    except HarnessError as error:
        return path, "unreadable", *nothing, _short(error.message)
    state = manifest.state
    if state != FINISHED and not is_held(folder.path):
        state = "stopped"  # whoever drove it is gone, and `resume` goes on
    strategy = config["strategy"]
    options = ", ".join(f"{name}={value}" for name, value in strategy["options"].items())
    what = (
        f"{strategy['name']}{f' ({options})' if options else ''} · budget {config['budget']} · "
        f"{config['benchmark']['name']} · {suite}"
    )
    total = manifest.prompt_set.count * config["replicates"]
    ended, score = f"? of {total}", "–"
    try:
        size = _log_bytes(folder)
        if size > LARGEST_LOG:
            what = f"log of {size / 2**20:.0f} MB, which `show` reads · {what}"
        else:
            searches, score = _result(folder, manifest)
            ended = f"{searches} of {total}"
    except HarnessError as error:
        what = f"{error.message} · {what}"
    made = manifest.created[:10] or "–"
    return path, state, made, ended, score, str(config["seed"]), _short(what)


def _result(folder: RunFolder, manifest: Manifest) -> tuple[int, str]:
    """Return how many searches of a run have ended, and its micro score as `show` has it."""
    from harness.analysis.statistics import mean_interval
    from harness.analysis.summary import prompt_scores
    from harness.log.frame import load, load_searches

    searches = load_searches(folder.path)
    if not manifest.config["scorer"]:
        return len(searches), "–"
    by_prompt = prompt_scores(folder, manifest, load(folder.path), searches)
    scores = by_prompt["score"].dropna().tolist()
    if not scores:
        return len(searches), "–"
    if len(scores) > MOST_PROMPTS:
        return len(searches), f"{sum(scores) / len(scores):.3f} (–)"
    micro = mean_interval(scores)
    return len(searches), f"{micro.value:.3f} ({micro.low:.3f}–{micro.high:.3f})"


def _log_bytes(folder: RunFolder) -> int:
    """Return the size of a run's log on this machine's disk."""
    from harness.log.files import explain

    size = 0
    try:
        with os.scandir(str(folder.log)) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # merged by its driver meanwhile
                    size += entry.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise explain(error, folder.log) from error
    return size


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"
