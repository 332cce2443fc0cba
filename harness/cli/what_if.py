"""`what-if`: what another strategy would have come to, from a run's log alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.options import COUNT, PAIR, PATH, pairs, plugins_option, price_options
from harness.cli.terminal import print_table, say
from harness.errors import UsageError
from harness.log.location import Location, location
from harness.price import UNPRICED, Price

if TYPE_CHECKING:
    from harness.what_if.bank import Bank
    from harness.what_if.sweep import Sweep


@click.command("what-if")
@click.argument("runs", nargs=-1, required=True, type=location, metavar="RUN…")
@click.option("--strategy", help="How to search.")
@click.option("-S", "options", multiple=True, metavar=PAIR, help="Strategy option.")
@click.option("--budget", type=COUNT, metavar="N",
              help="The most draws for one prompt; default: the run's own.")  # fmt: skip
@click.option("--judge", "judges", multiple=True, metavar="KIND",
              help="Another judge: oracle, or metric=NAME as logged. Several, the run's own among "
              "them, stand beside each other.")  # fmt: skip
@pairs("-J", "judging", "Judge option.")
@click.option("--sweep", is_flag=True,
              help="Replay a grid and print score over cost: all that the log of the first RUN "
              "answers, or --strategy with every value of a repeated -S. Seeds are pooled; other "
              "RUNs stand beside it as they ran.")  # fmt: skip
@click.option("--baseline", metavar="CURVE", default="best-of-n",
              help="What a sweep's points are held against, at equal cost.")  # fmt: skip
@click.option("--csv", type=PATH, help="Where to write a sweep's numbers.")
@click.option("--figure", type=PATH, help="Its figure: a .png or .svg file.")
@plugins_option
@price_options
def what_if(
    runs: tuple[Location, ...],
    sweep: bool,
    baseline: str,
    csv: Path | None,
    figure: Path | None,
    price: Price,
    **asked: Any,
) -> int:
    """Print what a strategy would have come to on the draws of the runs in the folders RUN….

    No model is needed: every draw that the strategy asks for is answered from the log, whole or in
    parts (`run --strategy bank` logs many), and the numbers are those of a run of it. Where the log
    lacks a draw, nothing is estimated: the draws are named, and the exit code is 1.
    """
    if sweep:
        if price != UNPRICED:
            raise UsageError("--sweep has costs and no prices", "leave --price out, or --sweep")
        _sweep(runs, baseline, csv, figure, **asked)
        return 0
    if asked["strategy"] is None or csv or figure:
        missing = "--strategy" if asked["strategy"] is None else "--sweep"
        raise UsageError(f"{missing} is missing", "say --strategy NAME, or --sweep for a grid")
    return _replay(runs, price, **asked)


def _replay(
    runs: tuple[Location, ...],
    price: Price,
    *,
    strategy: str,
    options: tuple[str, ...],
    budget: int | None,
    judges: tuple[str, ...],
    judging: dict[str, str],
) -> int:
    """Print what one strategy would have come to in each run, by each judge."""
    from harness.cli.summaries import print_result, spent_line
    from harness.options import parse
    from harness.what_if.bank import Bank

    settings = parse(options, flag="-S")
    code = 0
    for bank in map(Bank.open, runs):
        for judge in judges or (None,):
            result = bank.replayed(
                strategy, settings, budget=budget, judge=judge, judge_settings=judging
            )
            summary = result.summary
            print_result(summary)
            click.echo(spent_line(summary, price))
            _note_batches(bank)
            click.echo(f"replayed  from the draws of {result.folder.path}")
            code = max(code, int(summary.nothing_scored))
    return code


def _note_batches(bank: Bank) -> None:
    if bank.config.batch_rows:
        click.echo(
            "note: these draws were made in batches chosen for the run's own rounds; a run of "
            "another strategy may choose others, which can change last bits",
            err=True,
        )


def _sweep(
    runs: tuple[Location, ...],
    baseline: str,
    csv: Path | None,
    figure: Path | None,
    *,
    strategy: str | None,
    options: tuple[str, ...],
    budget: int | None,
    judges: tuple[str, ...],
    judging: dict[str, str],
) -> None:
    """Print a grid of replays as score over cost, and write its numbers and its figure."""
    from dataclasses import replace

    from harness.analysis.judging import previews_table
    from harness.analysis.protocol import captions, check_comparable, labels, pool, warnings
    from harness.report import contents, frontier, tables
    from harness.runs.loading import load_run
    from harness.what_if import sweep as grid
    from harness.what_if.bank import SWEPT, Bank
    from harness.what_if.judges import judge_name

    logged = [load_run(path) for path in runs]
    check_comparable(logged, force=False)
    if any(
        list(run.prompts["prompt_id"]) != list(logged[0].prompts["prompt_id"]) for run in logged
    ):
        raise UsageError(
            "the runs of a sweep have ended searches of different prompts", "let them all end"
        )
    pooled = pool(logged)
    banks = [Bank.open(part.folder.path, SWEPT) for part in pooled[0].parts]
    config = banks[0].config
    of_points = [
        None if judge == judge_name(config.judge) and not judging else judge
        for judge in judges or (None,)
    ]
    if strategy is None:
        points = grid.default_grid(banks, of_points)
    else:
        budgets = grid.budgets_up_to(config.budget)
        own = grid.grid_of(strategy, _values(options), [budget] if budget else budgets)
        own += [p for p in grid.grid_of(grid.BASELINE, {}, budgets) if p not in own]
        points = [replace(point, judge=judge) for judge in of_points for point in own]
    named = baseline if of_points[0] is None or ", " in baseline else f"{baseline}, {of_points[0]}"
    result = grid.sweep(banks, points, baseline=named, judge_settings=judging, beside=pooled[1:])
    notices = warnings(pooled)
    facts = captions(labels(pooled), pooled)
    say(*notices, prefix="warning: ", err=True)
    table = frontier.table(result, facts)
    made = [table]
    looks = previews_table(pooled[:1], labels(pooled[:1]))
    if len(looks):
        made.append(contents.previews(looks, []))
    for each in made:
        say(each.title)
        click.echo()
        print_table(list(each.shown.columns), each.shown.to_numpy())
        say(*each.notes)
        click.echo()
    _note_batches(banks[0])
    _write(result, csv, tables.csv(table), figure, notices, facts)


def _values(options: tuple[str, ...]) -> dict[str, list[str]]:
    """Return all values given for each option, in their order."""
    from harness.options import parse

    values: dict[str, list[str]] = {}
    for option in options:
        for name, value in parse((option,), flag="-S").items():
            values.setdefault(name, []).append(value)
    return values


def _write(
    result: Sweep, csv: Path | None, numbers: str, figure: Path | None, *labels: list[str]
) -> None:
    from harness.log.files import make_folder, write_atomically
    from harness.report import frontier, style

    files: dict[Path, bytes] = {}
    if csv is not None:
        files[csv] = numbers.encode()
    if figure is not None:
        if figure.suffix not in (".png", ".svg"):
            raise UsageError(f"--figure {figure} is no .png or .svg file")
        with style.styled():
            drawn = frontier.figure(result, *labels)
            style.settle(drawn)
            png = figure.suffix == ".png"
            files[figure] = style.png(drawn) if png else style.svg(drawn).encode()
    for path, data in files.items():
        make_folder(path.parent)
        write_atomically(path, data, durable=False)
        click.echo(f"written   {path}")
