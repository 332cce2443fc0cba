"""`score`: a benchmark's evaluation of images, whatever made them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from harness.cli.options import (
    COUNT,
    DTYPE,
    PATH,
    execution_options,
    metrics_option,
    pairs,
    price_options,
    resolve,
)
from harness.cli.recorded import recorded_command
from harness.cli.terminal import say
from harness.errors import UsageError
from harness.log.run_folder import RunFolder
from harness.price import Price


@click.command()
@click.argument("images", type=PATH)
@click.option("--prompts", type=PATH, metavar="FILE",
              help="What the images of one flat folder were made for; files are named by id or "
              "number.")  # fmt: skip
@click.option("--benchmark", default="geneval", help="Whose scorer grades them.")
@pairs("-B", "benchmark_options", "Benchmark option, such as images_per_file=4.")
@pairs("--scorer", "scorer", "Checkpoint for a part of the scorer.", "PART=REF")
@click.option("--detector", metavar="REF",
              help="Detector checkpoint: a folder, a hub id or bundled:NAME. With mmdet or "
              "mmdet:REF it is run by mmdet, the original.")  # fmt: skip
@click.option("--colors", metavar="REF", help="CLIP checkpoint for the colours.")
@click.option("--model", metavar="SUITE",
              help="Suite whose scorer is used where no reference is given. Default: the "
              "miniature; beside a reference that is not bundled, GenEval's official "
              "scorer.")  # fmt: skip
@pairs("-O", "settings", "Scorer setting, such as resize=float32 (mmdet 3.x) or max_overlap=0.5.")
@click.option("--dtype", type=DTYPE, help="Number type of the networks; default the suite's.")
@click.option("--batch-size", type=COUNT, help="Images of a batch.")
@click.option("--threads", type=COUNT, default=2, help="CPU threads of a worker.")
@click.option("--out", type=PATH,
              help="Folder for the log, results.jsonl and manifest; of a RUN, its own is the "
              "place.")  # fmt: skip
@metrics_option
@execution_options
@price_options
def score(
    images: Path,
    detector: str | None,
    colors: str | None,
    scorer: dict[str, str],
    out: Path | None,
    execution: dict[str, Any],
    price: Price,
    **asked: Any,
) -> int:
    """Score the images in the folder IMAGES, in GenEval's layout or, with --prompts, flat.

    IMAGES may be a finished run: --metrics then measures its images, beside its rows.

    A file of prompts has a line for each, such as GenEval's evaluation_metadata.jsonl; its images
    are named by the prompt's id or number: `00012.png`, of several `00012.0.png` and so on. For
    benchmarks with questions IMAGES may also be a JSON file from prompts' texts to files, or a
    folder of files named by the prompts' ids or numbers.

    The layout is `00000/metadata.jsonl` and `00000/samples/0000.png` (png or jpg); folders of
    equal metadata are one prompt, as in GenEval's own summary. The same
    command goes on where it was stopped. Images that cannot be read and prompts whose metadata
    is no good are named, are in no score, and make the exit code 1.
    """
    if (images / "manifest.json").is_file():
        if out is not None:
            raise UsageError(f"{images} is a run, which has its own place", "leave --out out")
        return _measure(images, execution, asked)
    if out is None:
        raise UsageError("images that are no run need a place for their scores", "give --out")
    parts = {"detector": detector, "colors": colors, **scorer}
    given = {part: ref for part, ref in parts.items() if ref is not None}
    from harness.cli.display import count_display
    from harness.cli.execute import stoppable
    from harness.cli.summaries import print_scores
    from harness.engine.launch import is_finished
    from harness.interop.plan import NothingToScore, ScoringAsk, plan_scoring
    from harness.interop.results import write_results
    from harness.interop.session import check_out
    from harness.interop.session import score as work
    from harness.log.files import check_writable

    where = resolve(**execution)
    try:
        ready = plan_scoring(ScoringAsk(images, scorer=given, device=where.device, **asked))
    except NothingToScore as error:
        say(*error.refusals, prefix="refused: ", err=True)
        raise
    folder = RunFolder(out)
    command = recorded_command()
    finished = is_finished(check_out(folder, ready))
    if not finished:
        check_writable(folder.path)
    say(*ready.refusals, prefix="refused: ", err=True)
    say(*ready.warnings, prefix="warning: ", err=True)
    click.echo(
        f"{len(ready.files)} images of {len(ready.plan.prompts)} prompts, "
        f"{'already finished' if finished else 'loading models …'}",
        err=True,
    )
    with stoppable(f"carry on with: {command}") as stop, count_display("images") as observe:
        work(ready, where, folder, command=command, observe=observe, stop=stop)
    results = write_results(folder, images)
    scores = print_scores(folder, results, price)
    failures = [reason for reason in scores.refused if reason not in ready.refusals]
    say(*failures, prefix="not scored: ", err=True)
    return 1 if scores.refused or ready.refusals else 0


def _measure(run: Path, execution: dict[str, Any], options: dict[str, Any]) -> int:
    """Measure a finished run's images by further metrics, beside its rows."""
    from harness.cli.display import count_display
    from harness.cli.execute import stoppable
    from harness.interop.measuring import measure
    from harness.log.store import read

    folder, command = RunFolder.existing(run), recorded_command()
    with stoppable(f"carry on with: {command}") as stop, count_display("images") as observe:
        into = measure(
            folder,
            options["metrics"],
            resolve(**execution),
            command=command,
            model=options["model"],
            threads=options["threads"],
            batch_size=options["batch_size"],
            observe=observe,
            stop=stop,
        )
    errors = read(into.log, "candidates", ["error"])["error"].drop_null().to_pylist()
    say(*sorted(set(errors)), prefix="not measured: ", err=True)
    click.echo(f"measured  {into.path}; `show`, `report` and `compare` of {run} read it")
    return 1 if errors else 0
