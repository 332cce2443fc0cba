"""`simulate`: what a run would take on more GPUs, before anybody pays for them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.options import (
    COUNT,
    NATURAL,
    PATH,
    amount,
    by_role,
    pairs,
    plugins_option,
)
from harness.errors import UsageError
from harness.log.run_folder import RunFolder

if TYPE_CHECKING:
    from harness.simulate.simulation import Simulated
    from harness.simulate.workload import Workload

SIZES = (1, 2, 4, 8, 16, 32)
"""Batch sizes that are tried, up to the given ones."""

GPUS = (1, 4, 16, 64, 256, 1024)
"""Rows of the table, beside the number that was asked for."""

ASSUMED = {"generator": 3.2, "judge": 1.2, "scorer": 0.6}
"""Seconds of a batch of eight where nothing better is known; no measurement."""

ASSUMED_BATCH = 8
ASSUMED_ACCEPTANCE = 0.4


@click.command("simulate")
@click.option("--gpus", type=click.IntRange(1, 65536), default=512)
@click.option("--strategy", default="reflect")
@pairs("-S", "options", "Option of the strategy.")
@click.option("--budget", type=COUNT, default=20)
@click.option("--from", "source", type=PATH, metavar="RUN",
              help="Take batch times, batch sizes and acceptance from this run's "
              "log.")  # fmt: skip
@pairs("--seconds", "seconds", "What a batch of a role takes.", "ROLE=VALUE")
@pairs("--batch", "batch", "Rows of a role's batch.", "ROLE=VALUE")
@click.option("--accept", type=click.FloatRange(0, 1),
              help="Chance that an image is accepted, the same for every prompt.")  # fmt: skip
@click.option("--batch-size", type=COUNT,
              help="Rows of all batches; default: the fastest up to the given ones.")  # fmt: skip
@click.option("--alone", type=click.FloatRange(0, 1, min_open=True), default=0.25,
              help="What one row alone takes, as a share of a full batch's time.")  # fmt: skip
@click.option("--prompts", type=COUNT, default=553)
@click.option("--replicates", type=COUNT, default=4)
@click.option("--seed", type=NATURAL, default=0)
@click.option("--price", type=amount, metavar="MONEY", help="Of a GPU-hour.")
@plugins_option
def simulate(
    gpus: int,
    strategy: str,
    options: dict[str, str],
    budget: int,
    source: Path | None,
    batch_size: int | None,
    price: float | None,
    **rest: Any,
) -> None:
    """Simulate a run on 1 to 1024 GPUs under a virtual clock.

    The searches, the strategy and the scheduler are the real ones; models are their batch times
    and a chance of acceptance. Every GPU holds a worker of each role, which take turns. The
    same seed gives the same verdicts on any number of GPUs. Beside it, the published script's
    way: prompts split over processes beforehand, one image at a time.

    Small batches suit many GPUs: a search that draws one image at a time cannot fill large ones.
    For each number of GPUs the batch size is the one that ends first.
    """
    from harness.options import build
    from harness.registry import STRATEGIES, import_paths
    from harness.simulate.simulation import simulate as run
    from harness.simulate.simulation import static_split

    with import_paths(allowed=True):
        search = build(STRATEGIES.get(strategy), options, flag="-S")
    workload = _workload(source, **rest)
    click.echo(_describe(workload, strategy, budget, source))
    if source is not None and workload.kind is None:
        click.echo(
            "note: the generator's class is not at hand (--plugins imports one that the run names "
            "by import path), so its batches count as of the usual shapes",
            err=True,
        )
    click.echo(
        f"    GPUs  batch   makespan {_unit(price)}    useful   until tail  tail costs"
        f"   static split: makespan {_unit(price)}"
    )
    asked = None
    for number in sorted({*GPUS, gpus}):
        sizes = _sizes(workload, batch_size)
        tried = {size: run(workload.resized(size), search, budget, number) for size in sizes}
        size = min(tried, key=lambda size: tried[size].makespan)
        ours = tried[size]
        static = static_split(workload, search, budget, number)
        click.echo(_line(size, ours, static, price))
        asked = ours if number == gpus else asked
    assert asked is not None
    click.echo(_detail(asked))


def _sizes(workload: Workload, given: int | None) -> list[int]:
    most = max(workload.batch_sizes[role] for role in workload.seconds)
    if given is not None:
        return [min(given, most)]
    return sorted({*(size for size in SIZES if size < most), most})


def _workload(
    source: Path | None,
    *,
    seconds: dict[str, str],
    batch: dict[str, str],
    accept: float | None,
    alone: float,
    prompts: int,
    replicates: int,
    seed: int,
) -> Workload:
    from harness.records import Role
    from harness.simulate.workload import Workload, logged_workload

    if source is not None:
        known = logged_workload(source)
    else:
        known = {
            "seconds": {Role(role): took for role, took in ASSUMED.items()},
            "batch_sizes": dict.fromkeys(Role, ASSUMED_BATCH),
            "acceptance": (ASSUMED_ACCEPTANCE,),
        }
    times = {**known["seconds"], **by_role(seconds, "--seconds")}
    sizes = dict(known["batch_sizes"])
    for role, value in by_role(batch, "--batch").items():
        if value != int(value) or value < 1:
            raise UsageError(f"--batch {role} takes a whole number above 0, got {value:g}")
        sizes[role] = int(value)
    times = {role: took for role, took in times.items() if took != 0}
    for role in times:
        sizes.setdefault(role, ASSUMED_BATCH)
    chances = (accept,) if accept is not None else known["acceptance"]
    acceptance = tuple(chances[n % len(chances)] for n in range(prompts))
    return Workload(
        times,
        sizes,
        acceptance,
        alone,
        replicates,
        seed,
        **{name: known[name] for name in ("settings", "kind", "batch_rows") if name in known},
    )


def _describe(workload: Workload, strategy: str, budget: int, source: Path | None) -> str:
    mean = sum(workload.acceptance) / len(workload.acceptance)
    roles = ", ".join(
        f"{role} {workload.seconds[role]:.4g} s for {workload.batch_sizes[role]}"
        for role in workload.seconds
    )
    origin = f"from {source}{_label(source)}" if source is not None else "ASSUMED unless given"
    return (
        f"{strategy}, budget {budget}, {len(workload.acceptance)} prompts × {workload.replicates}, "
        f"acceptance {mean:.3f} on average\nbatches: {roles} ({origin})"
    )


def _label(source: Path) -> str:
    from harness.log.manifest import Manifest
    from harness.models.bundled import label

    text = label(Manifest.read(RunFolder.existing(source).manifest).config)
    return f"; {text}" if text else ""


def _line(size: int, ours: Simulated, static: Simulated, price: float | None) -> str:
    before = ours.utilisation_before_tail
    until = "         –" if before is None else f"{before:10.3f}"
    return (
        f"{ours.gpus:8d} {size:6d} {_time(ours.makespan):>10} {_cost(ours.gpu_seconds, price):>8}"
        f" {ours.utilisation:9.3f}   {until}  {_cost(ours.tail_waste, price):>10}"
        f" {_time(static.makespan):>24} {_cost(static.gpu_seconds, price):>8}"
    )


def _detail(one: Simulated) -> str:
    hours = one.tail_waste / 3600
    share = one.tail_waste / one.gpu_seconds
    begins = f"after {_time(one.tail)}" if one.tail else "at once, all searches being open"
    text = (
        f"on {one.gpus}: {one.draws} draws in {one.searches} searches, {one.most_open} open at "
        f"most; batches {one.fill:.0%} full. The tail begins {begins}; it leaves "
        f"{hours:.2f} GPU-hours ({share:.0%} of the cost) idle or as padding."
    )
    if share > 0.25:
        text += "\nhint: there is too little work for so many GPUs; more --replicates fill them"
    return text


def _time(seconds: float) -> str:
    if seconds >= 5400:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 90 else f"{seconds:.1f} s"


def _unit(price: float | None) -> str:
    return "   GPU-h" if price is None else "    cost"


def _cost(gpu_seconds: float, price: float | None) -> str:
    hours = gpu_seconds / 3600
    return f"{hours if price is None else hours * price:.2f}"
