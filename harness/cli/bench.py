"""`bench`: how fast a run is here, against its bare models and against one image at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.options import COUNT, DEVICE, DTYPE, PATH, pairs
from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.bench.sides import Measured
    from harness.plan import Plan

NAMES = {
    "bare": "bare models, no waiting",
    "engine": "engine",
    "single": "one image at a time",
    "workers": "engine on Ray workers",
}


REGIMES = {"best-of-n": 4, "reflect": 20}
"""Searches that are measured where none is named, and their budgets: draws all at once, and draws
that wait for a verdict."""

BUSY_CORES = 0.25
"""Cores that other programs may use before rates are called doubtful."""


@click.command()
@click.option("--model", default="miniature", help="Suite to run.")
@click.option("--strategy",
              help="How to search; default: best-of-n with a budget of 4 and, where the generator "
              "takes feedback, reflect with 20, in turns.")  # fmt: skip
@pairs("-S", "strategy_options", "Strategy option.")
@click.option("--budget", type=COUNT, help="Draws of a prompt; default: 20 for reflect, else 4.")
@click.option("--benchmark", default="geneval", help="What to search for.")
@pairs("-B", "benchmark_options", "Benchmark option.")
@click.option("--limit", type=COUNT, default=8, help="Prompts.")
@pairs("-G", "generator_settings", "Sampler setting.")
@click.option("--dtype", type=DTYPE, help="Number type of all models.")
@click.option("--compile", is_flag=True, help="Compile the generator's blocks.")
@click.option("--batch-size", type=COUNT, help="Images of a generator's batch.")
@click.option("--without-scorer", is_flag=True,
              help="Draw and judge only, as the published scripts do.")  # fmt: skip
@click.option("--threads", type=COUNT, default=2, help="CPU threads.")
@click.option("--device", type=DEVICE, default="auto")
@click.option("--workers", type=COUNT, default=None,
              help="Measure so many Ray workers, too; they share the threads.")  # fmt: skip
@click.option("--rounds", type=COUNT, default=5, help="Rounds of each side, after a warm-up.")
@click.option("--json", "out", type=PATH, metavar="FILE",
              help="Write the figures, round by round, to a file.")  # fmt: skip
def bench(
    strategy: str | None,
    budget: int | None,
    without_scorer: bool,
    workers: int | None,
    rounds: int,
    out: Path | None,
    device: str,
    **asked: Any,
) -> None:
    """Measure how fast a run is on this machine, and say what limits it.

    Three ways of making, judging and scoring the same draws take turns, round by round: the bare
    models over the fullest batches that these draws make, and nothing else; the engine, as `run`
    would; and one image at a time, prompt encoded anew for every draw and judged alone, as the
    published scripts go about it. Loading is not counted. A search that draws one image after the
    other leaves batches shorter than best-of-n, so try the strategy and the number of prompts
    that you mean to run.
    """
    from harness.engine.threads import patient_threads

    patient_threads()
    from harness.bench.measure import measure
    from harness.cli.display import count_display
    from harness.engine.devices import chosen_device
    from harness.engine.ladder import laddered
    from harness.plan import Ask, plan

    if strategy is None and asked["strategy_options"]:
        raise UsageError("-S is an option of a strategy, and none is named", "add --strategy")
    device = chosen_device(device)
    names = _regimes(asked["model"]) if strategy is None else [strategy]
    plans = [
        laddered(
            plan(Ask(strategy=name, budget=budget or REGIMES.get(name, 4), device=device, **asked))
        )
        for name in names
    ]
    if without_scorer:
        plans = [
            replace(each, config=each.config.model_copy(update={"scorer": None})) for each in plans
        ]
    with count_display("rounds") as observe:
        results = measure(
            plans, rounds=rounds, device=device, workers=workers or 0, observe=observe
        )
    click.echo(_text(plans, results, device))
    if out is not None:
        from harness.log.files import write_json

        content = [
            {"config": each.config.model_dump(mode="json"), **result.as_json()}
            for each, result in zip(plans, results, strict=True)
        ]
        write_json(out, content)


def _regimes(model: str) -> list[str]:
    from harness.abilities import abilities_of
    from harness.models.suites import load_suite
    from harness.options import build
    from harness.registry import STRATEGIES, import_paths

    with import_paths(allowed=True):  # the suite is the user's own, as in `run`
        abilities = abilities_of(load_suite(model).generator)
    strategies = {name: build(STRATEGIES.get(name), {}, flag="-S") for name in REGIMES}
    return [name for name, strategy in strategies.items() if strategy.needs() <= abilities]


def _text(plans: Sequence[Plan], results: Sequence[Measured], device: str) -> str:
    from harness.engine.devices import device_name

    config, result = plans[0].config, results[0]
    spec = config.generator
    lines = [
        f"{config.suite}, {spec.dtype}{', compiled' if spec.compile else ''}, "
        f"threads {config.threads}, "
        f"{device_name(device)}, {result.cores} cores; medians over "
        f"{len(result.single.rounds)} rounds (slowest to fastest)"
    ]
    for plan, result in zip(plans, results, strict=True):
        lines += ["", *_regime(plan, result)]
    lines.append("")
    if result.memory_bytes:
        memory = result.memory_bytes / 2**30
        lines.append(f"memory of this process on the device: {memory:.1f} GiB at most")
    sides = [side for result in results for side in result.sides.values()]
    busy = max(side.busy or 0.0 for side in sides)
    lines.append(f"other programs kept {busy:.1f} of {result.cores} cores busy")
    if busy > BUSY_CORES:
        lines.append("The machine was busy with other things: trust the ratios, not the rates.")
    return "\n".join(lines)


def _regime(plan: Plan, result: Measured) -> Iterator[str]:
    config, sides = plan.config, result.sides
    single, bare, engine = result.single, sides["bare"], sides["engine"]
    sizes = ", ".join(map(str, config.batch_rows)) or config.generator.batch_size
    yield (
        f"{config.strategy.name}, budget {config.budget}, {len(plan.prompts)} prompts: "
        f"{result.draws} draws in batches of {sizes}"
    )
    for name, side in sides.items():
        slowest, fastest = side.spread
        line = f"{NAMES[name]:<26} {side.rate:8.3f} images/s ({slowest:.3f} to {fastest:.3f})"
        line += "" if side is single else f"   {side.ratio(single)} one at a time"
        if name == "engine":
            line += f", {side.ratio(bare)} the bare models"
        if side.busy is not None:
            line += f"; others used {side.busy:.1f} cores"
        yield line
    yield "where the engine's time goes"
    for role, share in engine.shares.items():
        yield (
            f"  {role:<10} {share:4.0%}   {engine.model_ms(role):8.1f} ms an image in batches that "
            f"were {result.fill[role]:.0%} full, {bare.model_ms(role):.1f} ms in the fullest, "
            f"{single.model_ms(role):.1f} ms alone: {engine.role_ratio(single, role)}"
        )
    rest = max(0.0, 1 - sum(engine.shares.values()))
    yield f"  the rest   {rest:4.0%}   images packed, stored and logged"
    yield result.limit
