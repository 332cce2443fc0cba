"""`forecast`: what a larger budget would buy, as far as a log can tell."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from harness.cli.options import NATURAL, plugins_option, price_options
from harness.cli.terminal import print_table, printable, say
from harness.log.location import Location, location
from harness.price import Price

if TYPE_CHECKING:
    import pandas as pd

    from harness.runs.logged_run import LoggedRun


@click.command()
@click.argument("runs", nargs=-1, required=True, type=location, metavar="RUN…")
@click.option("--budget", type=click.IntRange(min=1, max=1_000_000), default=2048, metavar="N",
              help="The largest budget to predict, in draws a prompt.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the tables as one JSON object.")
@click.option("--seed", type=NATURAL, default=0, help="Of resampling.")
@price_options
@plugins_option
def forecast(
    runs: tuple[Location, ...], budget: int, as_json: bool, seed: int, price: Price
) -> int:
    """Predict micro scores of best-of-n at larger budgets from logs of independent draws.

    A RUN is a finished `run --strategy best-of-n`; runs that differ in nothing but their seed
    count as one. Success rates of prompts are taken to be beta distributed. The command also
    prints how well smaller parts of the log predict the whole of it.
    """
    from harness.analysis.protocol import labels, pool
    from harness.runs.loading import load_run

    pooled = pool([load_run(place) for place in runs])
    results = {
        name: _result(run, budget, seed, price)
        for name, run in zip(labels(pooled), pooled, strict=True)
    }
    if as_json:
        click.echo(json.dumps(results, indent=1))
        return 0
    for name, result in results.items():
        _print(name, result)
    return 0


def _result(run: LoggedRun, budget: int, seed: int, price: Price) -> dict[str, Any]:
    from harness.analysis import forecast as analysis
    from harness.analysis.forecast import prompt_draws
    from harness.models.bundled import is_miniature
    from harness.runs.logged_run import COST_AXES
    from harness.runs.money import by_draw
    from harness.statistics.best_of_n import spread

    draws = prompt_draws(run)
    budgets = budgets_up_to(budget, draws.number)
    table = analysis.forecast_table(draws, budgets, seed=seed)
    prompts = spread(draws)
    spent = {axis: run.spent(axis) for axis in COST_AXES} | {"price": by_draw(run, price)}
    costs = {axis: float(of[run.index >= 0].mean()) for axis, of in spent.items()}
    return {
        "prompts": len(run.prompts),
        "draws": draws.number,
        "miniature": is_miniature(run.manifest.config),
        "forecast": table.to_dict("records"),
        "held_out": analysis.held_out(draws, seed=seed).to_dict("records"),
        "tested_reach": analysis.REACH * draws.number,
        "cost_of_a_draw": {axis: None if cost != cost else cost for axis, cost in costs.items()},
        "correlation": prompts.correlation,
        "unsolved": prompts.unsolved,
        "rate_below_one_in_a_thousand": prompts.hopeless,
    }


def budgets_up_to(budget: int, logged: int) -> list[int]:
    """Return the budgets to predict: 1, the log's own, doublings of it, and the one asked for."""
    doublings = [logged]
    while doublings[-1] * 2 < budget:
        doublings.append(doublings[-1] * 2)
    return sorted({1, budget, *(n for n in doublings if n < budget)})


def _print(name: str, result: dict[str, Any]) -> None:
    import pandas as pd

    from harness.analysis.ledger import LEDGER
    from harness.runs.wording import with_interval

    table = pd.DataFrame(result["forecast"])
    what = "miniature; " if result["miniature"] else ""
    click.echo(
        f"{printable(name)}: {what}micro over {result['prompts']} prompts, "
        f"{result['draws']} draws each\n"
    )
    costs = {axis: cost for axis, cost in result["cost_of_a_draw"].items() if cost is not None}
    selections = table["selection"].unique()
    headings = ["draws", *selections, *(f"{LEDGER[axis]} a prompt" for axis in costs), "basis"]
    rows = []
    for budget, group in table.groupby("budget", sort=True):
        number = int(budget)  # type: ignore[arg-type]
        scores = [with_interval(*row) for row in group[["score", "low", "high"]].to_numpy()]
        basis = (
            "log"
            if number <= result["draws"]
            else "model, within its tested reach"
            if number <= result["tested_reach"]
            else "model, beyond what was tested"
        )
        spent = [_number(number * cost) for cost in costs.values()]
        rows.append([f"{number:,}", *scores, *spent, basis])
    print_table(headings, rows)
    click.echo()
    say(*_sentences(table, result))
    click.echo()


def _number(cost: float) -> str:
    return f"{cost:,.0f}" if cost >= 100 else f"{cost:.3g}"


def _sentences(table: pd.DataFrame, result: dict[str, Any]) -> list[str]:
    lines = []
    for row in result["held_out"]:
        lines.append(
            f"{row['selection']}: from {row['fitted_on']} draws a prompt, {row['budget']} are "
            f"predicted with an error of {row['error']:+.3f} (mean of {row['trials']} trials; the "
            f"largest {row['largest']:.3f}); {row['covered']} of {row['trials']} intervals hold "
            "what the log says"
        )
    until = table[(table["selection"] == "first accepted")]
    if len(until):
        last = until.iloc[-1]
        lines.append(
            f"stopping at the first accepted image, a budget of {last['budget']:,} takes "
            f"{last['draws']:.2f} draws a prompt"
        )
    lines.append(
        f"two draws of one prompt succeed or fail together with a correlation of "
        f"{result['correlation']:.2f}; no draw of the log solves "
        f"{result['unsolved']:.1%} of the prompts, and an estimated "
        f"{result['rate_below_one_in_a_thousand']:.1%} have a rate below 1 in 1,000"
    )
    return lines
