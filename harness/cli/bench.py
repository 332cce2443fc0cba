"""`bench`: how fast a run is here, against its bare models and against one image at a time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from harness.bench.sides import Measured
    from harness.plan import Plan

COUNT = click.IntRange(min=1)

NAMES = {
    "bare": "bare models, full batches",
    "engine": "engine",
    "single": "one image at a time",
    "workers": "engine on Ray workers",
}


@click.command(short_help="Measure how fast a run is on this machine.")
@click.option("--model", default="miniature", show_default=True, help="Suite to run.")
@click.option("--strategy", default="best-of-n", show_default=True, help="How to search.")
@click.option("-S", "strategy_options", multiple=True, metavar="NAME=VALUE",
              help="Strategy option.")  # fmt: skip
@click.option("--budget", type=COUNT, default=4, show_default=True, help="Draws of a prompt.")
@click.option("--benchmark", default="geneval", show_default=True, help="What to search for.")
@click.option("-B", "benchmark_options", multiple=True, metavar="NAME=VALUE",
              help="Benchmark option.")  # fmt: skip
@click.option("--limit", type=COUNT, default=8, show_default=True, help="Prompts.")
@click.option("--batch-size", type=COUNT, help="Images of a generator's batch.")
@click.option("--threads", type=COUNT, default=2, show_default=True, help="CPU threads.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto",
              show_default=True)  # fmt: skip
@click.option("--workers", type=COUNT, default=None,
              help="Measure so many Ray workers, too; they share the threads.")  # fmt: skip
@click.option("--rounds", type=COUNT, default=5, show_default=True,
              help="Rounds of each side, after one to warm up.")  # fmt: skip
@click.option("--random-weights", type=click.Path(path_type=Path), metavar="FOLDER",
              help="Draw full-size models (25 GB) into a folder, once, and measure them: "
              "Reflect-DiT for a strategy that gives feedback, else SANA.")  # fmt: skip
@click.option("--json", "out", type=click.Path(path_type=Path), metavar="FILE",
              help="Write the figures, round by round, to a file.")  # fmt: skip
def bench(
    strategy_options: tuple[str, ...],
    benchmark_options: tuple[str, ...],
    workers: int | None,
    rounds: int,
    random_weights: Path | None,
    out: Path | None,
    device: str,
    **asked: Any,
) -> None:
    """Measure how fast a run is on this machine, and say what limits it.

    Three ways of making, judging and scoring the same draws take turns, round by round: the bare
    models over full batches and nothing else; the engine, as `run` would; and one image at a
    time, prompt encoded anew, as the published scripts go about it. Loading is not counted.
    Try it with the strategy you mean to run: a search that draws one image after the other, such
    as `--strategy reflect --budget 20`, leaves batches shorter than best-of-n.
    """
    from harness.engine.threads import patient_threads

    patient_threads()
    from harness.bench.measure import measure
    from harness.cli.count_display import count_display
    from harness.engine.devices import has_gpu
    from harness.options import parse
    from harness.plan import Ask, plan

    if device == "auto":
        device = "cuda" if has_gpu(None) else "cpu"
    asked["strategy_options"] = parse(strategy_options, flag="-S")
    asked["benchmark_options"] = parse(benchmark_options, flag="-B")
    if random_weights is not None:
        asked["model"] = str(_random_models(random_weights, asked, device))
    ready = plan(Ask(**asked, device=device))
    with count_display("rounds") as observe:
        measured = measure(
            ready, rounds=rounds, device=device, workers=workers or 0, observe=observe
        )
    click.echo(_text(measured, ready, device))
    if out is not None:
        import json

        from harness.log.files import write_atomically

        content = {"config": ready.config.model_dump(mode="json"), **measured.as_json()}
        write_atomically(out, (json.dumps(content, indent=2) + "\n").encode())


def _random_models(folder: Path, asked: dict[str, Any], device: str) -> Path:
    from harness.bench import sizes
    from harness.bench.random_models import write_models
    from harness.errors import UsageError
    from harness.registry import STRATEGIES

    if asked["model"] != "miniature":
        raise UsageError("--random-weights brings models of its own", "leave --model out")
    if device == "cpu" and sizes.FULL.needs_gpu:
        raise UsageError("full-size models would take days on a CPU", "run it on a GPU")
    sana, reflect = write_models(
        folder,
        sizes.FULL,
        device=device,
        observe=lambda part: click.echo(f"drawing weights: {part} …", err=True),
    )
    return reflect if STRATEGIES.get(asked["strategy"]).needs_feedback else sana


def _text(measured: Measured, plan: Plan, device: str) -> str:
    from harness.engine.devices import device_name

    config, single = plan.config, measured.sides["single"]
    spec = config.generator
    lines = [
        f"{config.strategy.name}, budget {config.budget}, {len(plan.prompts)} prompts: "
        f"{measured.draws} draws on {config.suite}, {spec.dtype}, batches of {spec.batch_size}, "
        f"threads {config.threads}, {device_name(device)}"
    ]
    for name, side in measured.sides.items():
        slowest, fastest = side.spread
        line = f"{NAMES[name]:<26} {side.rate:8.3f} images/s ({slowest:.3f} to {fastest:.3f})"
        line += "" if side is single else f"   {side.ratio(single):5.2f}× one at a time"
        if name == "engine":
            line += f", {side.ratio(measured.sides['bare']):.2f} of the bare models"
        lines.append(line)
    shares = measured.sides["engine"].shares
    lines.append("where the engine's time goes")
    for role, share in shares.items():
        lines.append(
            f"  {role:<10} {share:4.0%}   {measured.sides['bare'].model_ms(role):8.1f} ms an image "
            f"in full batches, {single.model_ms(role):8.1f} ms alone; its batches were "
            f"{measured.fill[role]:.0%} full"
        )
    rest = max(0.0, 1 - sum(shares.values()))
    lines += [
        f"  the rest   {rest:4.0%}   images packed, stored and logged",
        f"memory of this process on the device: {measured.memory_bytes / 2**30:.1f} GiB at most; "
        f"load of the machine {measured.load[0]:.1f} before, {measured.load[1]:.1f} after, on "
        f"{measured.cores} cores",
        measured.limit,
    ]
    if measured.load[0] > 0.5:
        lines.append("The machine was busy with other things: trust the ratios, not the rates.")
    return "\n".join(lines)
