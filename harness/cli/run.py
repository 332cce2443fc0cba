"""`run`: plan a run from the options, do it, and say what it came to."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.options import (
    COUNT,
    DTYPE,
    NATURAL,
    execution_options,
    metrics_option,
    pairs,
    price_options,
    resolve,
    reuse_option,
    track_option,
    words,
)
from harness.cli.recorded import price_words
from harness.errors import UsageError
from harness.log.location import Location, location
from harness.log.run_folder import RunFolder, find_runs
from harness.price import Price

if TYPE_CHECKING:
    from harness.engine.launch import Execution
    from harness.plan import Plan

AUTO = "auto"


def batch_size(text: str) -> int | str:
    """Read a whole number above 0, or "auto"."""
    return AUTO if text == AUTO else COUNT(text)


@click.command()
@click.option("--strategy", default="best-of-n", help="How to search.")
@pairs("-S", "strategy_options", "Strategy option.")
@click.option("--budget", type=COUNT, default=4, help="The most draws for one prompt.")
@click.option("--benchmark", default="geneval", help="What to search for.")
@pairs("-B", "benchmark_options", "Benchmark option.")
@click.option("--tags", callback=words, metavar="TAG,…", help="Only prompts of these tags.")
@click.option("--limit", type=COUNT,
              help="Only so many prompts: a stratified sample, the same for every "
              "seed.")  # fmt: skip
@click.option("--replicates", type=COUNT, default=1, help="Independent searches a prompt.")
@click.option("--seed", type=NATURAL, default=0)
@click.option("--model", default="miniature", help="Suite of models: a name, or a TOML file.")
@click.option("--checkpoint", metavar="REF", help="Another checkpoint for the generator.")
@click.option("--lora", "loras", multiple=True, metavar="[NAME[@WEIGHT]=]REF",
              help="LoRA adapter for the generator: a folder or hub id, merged when it is "
              "loaded.")  # fmt: skip
@click.option("--trust-remote-code", is_flag=True,
              help="Run code that lies beside the checkpoints of generator, judge and metrics; the "
              "manifest says so.")  # fmt: skip
@pairs("-G", "generator_settings", "Sampler setting, such as guidance_scale=4.5.")
@click.option("--judge", metavar="KIND[=REF]", help="Another judge, or judge and checkpoint.")
@pairs("-J", "judge_settings", "Option of the judge.")
@pairs("--scorer", "scorer", "Another checkpoint for a part of the scorer.", "PART=REF")
@metrics_option
@pairs("-O", "scorer_settings", "Scorer setting, such as mended=true for geneval2.")
@click.option("--dtype", type=DTYPE,
              help="Number type of all models; default bfloat16 on GPUs, float32 on "
              "CPUs.")  # fmt: skip
@click.option("--compile", is_flag=True,
              help="Compile the generator's blocks: half a minute for each batch shape, then "
              "faster.")  # fmt: skip
@click.option("--batch-size", type=batch_size, metavar="N|AUTO",
              help="Images a generator batch; auto: chosen by a short measurement on the device, "
              "once.")  # fmt: skip
@click.option("--ladder/--no-ladder", default=True,
              help="Smaller generator batches for late rounds, which few searches "
              "reach.")  # fmt: skip
@click.option("--threads", type=COUNT, default=2,
              help="CPU threads of a worker; part of the run's identity.")  # fmt: skip
@click.option("--keep-images", type=click.Choice(["all", "selected", "none"]), default="all",
              help="Which images stay once their search has ended.")  # fmt: skip
@click.option("--out", type=location, metavar="PLACE",
              help="The run's folder, or s3://bucket/prefix; default: one under results/ named by "
              "config.")  # fmt: skip
@reuse_option
@click.option("--beside", metavar="STRATEGY[,NAME=VALUE…]",
              help="A baseline to search with afterwards, all else equal; the two are then "
              "compared.")  # fmt: skip
@track_option
@price_options
@execution_options
def run(
    out: Location | None,
    reuse: tuple[RunFolder, ...],
    beside: str | None,
    track: tuple[str, ...],
    execution: dict[str, Any],
    batch_size: int | str | None,
    ladder: bool,
    price: Price,
    **asked: Any,
) -> int:
    """Search with a strategy over a benchmark's prompts.

    Every candidate image is judged, scored and logged. The same options give the same log, bit
    for bit, on one worker or many; a run that was stopped goes on when the same command is
    given again.
    """
    asked["batch_size"] = None if batch_size == AUTO else batch_size
    asks = [asked]
    if beside is not None:
        from harness.options import parse

        baseline, *options = beside.split(",")
        named = {"strategy": baseline, "strategy_options": parse(tuple(options), flag="--beside")}
        asks.append({**asked, **named})
    from harness.cli.execute import execute
    from harness.engine.ladder import as_begun, laddered
    from harness.engine.launch import default_folder
    from harness.plan import Ask, plan

    where = resolve(**execution)
    plans = [plan(Ask(**ask, device=where.device)) for ask in asks]  # all refused before any runs
    if len({ready.config.digest for ready in plans}) < len(plans):
        raise UsageError("--beside names the very search that is run", "name another baseline")
    folders: list[RunFolder] = []
    codes = []
    for ready in plans:
        place = out
        if out is not None and folders:
            place = location(f"{out}-{ready.config.strategy.name.replace(':', '.')}")
        if ladder:
            ready = laddered(ready)
        notes: dict[str, Any] = {}
        if batch_size == AUTO:
            ready, notes = _settle(ready, where, place, Path("results"), is_laddered=ladder)
        folder = default_folder(ready, Path("results")) if place is None else RunFolder(place)
        ready = as_begun(ready, folder)
        codes.append(execute(ready, where, folder, notes, reuse, track, price))
        folders.append(folder)
        if beside is not None:
            click.echo()
    places = [str(folder.path) for folder in folders]
    if len(folders) > 1 and not any(codes):
        from harness.cli.compare import compare

        # The baseline first: what a line prints is the second minus the first.
        options = ["--plugins", *price_words(price)]
        codes.append(compare.main([*options, *reversed(places)], standalone_mode=False))
        click.echo()
    click.echo(f"look      python -m harness view {shlex.join(places)}")
    return max(codes)


def _settle(
    plan: Plan, execution: Execution, out: Location | None, results: Path, *, is_laddered: bool
) -> tuple[Plan, dict[str, Any]]:
    """Fix the generator's batch size: an earlier run's of the same command, else by measuring.

    Returns the plan, and what its manifest is to keep of the measurement.
    """
    from dataclasses import asdict

    from harness.engine.calibration import calibrate, earlier, with_batch_size
    from harness.log.files import check_writable

    folders = [RunFolder(out)] if out is not None else find_runs(results)
    known = earlier(plan, folders, is_laddered=is_laddered)
    if known is not None:
        click.echo(f"batch size: {known}, as this run was begun with", err=True)
        return with_batch_size(plan, known, is_laddered=is_laddered), {}
    check_writable(results if out is None else out)
    click.echo("measuring batch sizes …", err=True)
    calibration = calibrate(plan, execution, is_laddered=is_laddered)
    for size in calibration.sizes:
        click.echo(
            f"  {size.batch_size:3d}: {size.images_per_second:.2f} images/s, "
            f"{size.memory_bytes / 2**30:.2f} GB held",
            err=True,
        )
    click.echo(f"batch size: {calibration.batch_size} ({calibration.stopped})", err=True)
    settled = with_batch_size(plan, calibration.batch_size, is_laddered=is_laddered)
    return settled, {"calibration": asdict(calibration)}
