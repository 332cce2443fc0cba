"""``python -m harness.miniature.evaluate``: measure the committed miniature.

Three questions, answered with the project's own GenEval scorer: is the scorer right about scenes
whose truth is known, do judge and scorer agree as much as they should, and is the generator as
good, and as bad, as a study of search needs it. The generator is measured twice: as the base was
trained, and as runs use it, with the transformer that learnt reflection, here without feedback.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
from PIL import Image as Pillow

from benchmarks.geneval.classes import TAGS
from benchmarks.geneval.prompts import Request, metadata_rows
from harness.engine.threads import patient_threads
from harness.miniature import WEIGHTS, WORLDS, card, explained
from harness.miniature.corrections import with_fault
from harness.miniature.glyphs import font_path
from harness.miniature.habits import touched
from harness.miniature.prompts import draw_scene, from_metadata
from harness.miniature.scenes import SIDE, render
from harness.models.bundled import record_digests
from harness.records import Image, Loading
from harness.records import Request as DrawRequest

STEPS, GUIDANCE, TOKENS = 8, 5.0, 16
"""The miniature's default sampler settings."""


def sample(
    folder: Path,
    texts: Sequence[str],
    seed: int,
    batch: int,
    *,
    transformer: Path | None = None,
    components: Path | None = None,
    steps: int = STEPS,
    device: str = "cpu",
    first: int = 0,
) -> Iterator[Image]:
    """Images of a pipeline, one a text, each from its own noise seed.

    Args:
        folder: The pipeline's folder.
        texts: Prompts.
        seed: Image ``i`` starts from noise seeded with ``seed`` and ``i``.
        batch: Images of the one batch shape.
        transformer: Folder of a transformer with feedback, to draw without any, in place of the
            pipeline's own.
        components: Folder whose text encoder and transformer take the place of the pipeline's.
        steps: Inference steps.
        device: Torch device.
        first: Number of the first image to make, at the start of a batch.
    """
    import torch

    from harness.models.loading import load_strictly
    from harness.models.reflect_dit.transformer import SanaTransformer2DModelWithContext
    from harness.models.sana import SanaGenerator
    from harness.models.sana_loading import load_pipeline

    own = None
    if transformer is not None:
        own = load_strictly(SanaTransformer2DModelWithContext, transformer, dtype="float32")
    place = torch.device(device)
    pipeline = load_pipeline(
        folder, device=place, dtype="float32", transformer=own, components=components
    )
    generator = SanaGenerator(pipeline, batch_size=batch)
    settings = {
        "num_inference_steps": steps, "guidance_scale": GUIDANCE, "height": SIDE, "width": SIDE,
        "max_sequence_length": TOKENS, "complex_human_instruction": False,
    }  # fmt: skip
    for start in range(first, len(texts), batch):
        requests = [
            DrawRequest(str(number), text, ((seed * 1_000_003 + number, 1.0),), settings)
            for number, text in enumerate(texts[start : start + batch], start)
        ]
        yield from (made.image for made in generator.generate(requests))


def benchmark_requests() -> list[Request]:
    """Return the requests of the 553 published prompts."""
    return [from_metadata(row) for row in metadata_rows()]


def scene_verdicts(
    scorers: Mapping[str, Any], requests: Sequence[Request], seed: int
) -> list[pd.DataFrame]:
    """Rows of scenes that show what is asked for, and of scenes with one planted error."""
    rng = np.random.default_rng(seed)
    true = [render(draw_scene(rng, request)).image for request in requests]
    false = [render(draw_scene(rng, with_fault(rng, request))).image for request in requests]
    shown = {"true_scene": true, "planted_error": false}
    return [rows(what, requests, scorers, images) for what, images in shown.items()]


def rows(
    what: str, requests: Sequence[Request], scorers: Mapping[str, Any], images: Sequence[Image]
) -> pd.DataFrame:
    """One row an image: what it is, number, tag, and whether each scorer calls it correct."""
    prompts = [request.prompt(str(number)) for number, request in enumerate(requests)]
    columns = {
        name: [bool(score.correct) for score, _ in scorer.score(prompts, images)]
        for name, scorer in scorers.items()
    }
    tags = [prompt.tag for prompt in prompts]
    return pd.DataFrame({"what": what, "number": range(len(requests)), "tag": tags, **columns})


def measure_speed(weights: Path, batches: Sequence[int]) -> dict[str, float]:
    """Images a second of plain draws, decoding included: the median at each batch size."""
    speeds = {}
    for batch in batches:
        texts = ["a photo of a red bench and a blue cow"] * (batch * 7)
        images = sample(weights / "base", texts, 0, batch, transformer=weights / "reflect")
        for _ in range(batch):
            next(images)
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            for _ in range(2 * batch):
                next(images)
            seconds.append(time.perf_counter() - start)
        speeds[str(batch)] = round(2 * batch / float(np.median(seconds)), 2)
    return speeds


def grid(requests: Sequence[Request], images: Sequence[Image], columns: int = 10) -> Image:
    """A row of images a tag, evenly spread over its prompts and not chosen, at twice their size."""
    rows = []
    for tag in TAGS:
        own = [image for r, image in zip(requests, images, strict=True) if r.tag == tag]
        picked = [own[number * len(own) // columns] for number in range(columns)]
        rows.append(np.concatenate(picked, axis=1))
    return np.concatenate(rows).repeat(2, axis=0).repeat(2, axis=1)


@click.command(context_settings={"show_default": True})
@click.option("--weights", type=click.Path(path_type=Path, exists=True, file_okay=False),
              default=WEIGHTS, show_default="the package's own",
              help="Folder of the trained models.")  # fmt: skip
@click.option("--world", type=click.Choice(list(WORLDS)), default="even",
              help="Whose images, and whose judge.")  # fmt: skip
@click.option("--images", default=4, help="Images a prompt.")
@click.option("--batch", default=16, help="Images of the one batch shape.")
@click.option("--seed", default=0)
@click.option("--speed/--no-speed", default=False, help="Also time generation at 1 to 32 images.")
@click.option("--picture", type=click.Path(path_type=Path, dir_okay=False),
              help="Write a grid of samples.")  # fmt: skip
@click.option("--write/--no-write", default=False,
              help="Keep the verdicts beside the weights and put the figures into their "
              "card.")  # fmt: skip
def main(
    weights: Path,
    world: str,
    images: int,
    batch: int,
    seed: int,
    speed: bool,
    picture: Path | None,
    write: bool,
) -> None:
    """Measure the miniature over all 553 prompts; the figures, as Markdown, on standard output."""
    font_path()
    patient_threads()
    from benchmarks.geneval.loading import load_scorer

    requests = [request for request in benchmark_requests() for _ in range(images)]
    own = WORLDS[world]
    parts = {
        "scorer": {name: weights / name for name in ("detector", "colors")},
        "judge": own.judge_in(weights),
    }
    scorers = {who: load_scorer(Loading(each, batch_size=16)) for who, each in parts.items()}
    tables = scene_verdicts(scorers, requests, seed)
    texts = [request.text for request in requests]
    components = own.components_in(weights)
    # In the world with habits plain draws are the base's whatever has learnt reflection.
    arms = {"base": None} if components else {"base": None, "reflect": weights / own.reflect}
    for what, transformer in arms.items():
        images_of = partial(sample, weights / "base", texts, seed, batch)
        drawn = list(images_of(transformer=transformer, components=components))
        tables.append(rows(what, requests, scorers, drawn))
    if picture:
        # A palette keeps the file small; the gradients do not need more.
        Pillow.fromarray(grid(requests, drawn)).quantize(256).save(picture, optimize=True)
    facts: dict[str, Any] = {
        "images": len(requests), "seed": seed, "batch": batch, "num_inference_steps": STEPS,
        "guidance_scale": GUIDANCE,
    }  # fmt: skip
    if components:
        facts["touched"] = touched(benchmark_requests())
    if speed:
        facts["images_per_second_by_batch"] = measure_speed(weights, (1, 4, 8, 16, 32))
    table = pd.concat(tables, ignore_index=True)
    click.echo(card.figures(table, facts, weights, world))
    if write:
        card.write(table, facts, weights, world)
        record_digests()


if __name__ == "__main__":
    with explained():
        main()
