"""``python -m harness.miniature.evaluate``: measure the committed miniature.

Three questions, answered with the project's own GenEval scorer: is the scorer right about scenes
whose truth is known, do judge and scorer agree as much as they should, and is the base model as
good, and as bad, as a study of search needs it.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from harness.errors import HarnessError
from harness.miniature import WEIGHTS
from harness.miniature.corrections import with_fault
from harness.miniature.glyphs import font_path
from harness.miniature.prompts import TAGS, Request, draw_scene
from harness.miniature.scenes import render

Image = NDArray[np.uint8]

STEPS, GUIDANCE, TOKENS = 12, 5.0, 16
"""The miniature's default sampler settings."""


def sample(
    folder: Path,
    texts: Sequence[str],
    seed: int,
    batch: int,
    *,
    steps: int = STEPS,
    device: str = "cpu",
) -> Iterator[Image]:
    """Images of the base model, one a text, each from its own noise seed.

    Args:
        folder: The pipeline's folder.
        texts: Prompts.
        seed: Image ``i`` starts from noise seeded with ``seed`` and ``i``.
        batch: Images of the one batch shape; the last batch is padded.
        steps: Inference steps.
        device: Torch device.
    """
    import torch
    from diffusers import SanaPipeline

    pipeline = SanaPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    pipeline = pipeline.to(device)
    pipeline.set_progress_bar_config(disable=True)
    for start in range(0, len(texts), batch):
        rows = list(texts[start : start + batch])
        count = len(rows)
        rows += [rows[-1]] * (batch - count)
        numbers = range(start, start + batch)
        noises = [torch.Generator().manual_seed(seed * 1_000_003 + number) for number in numbers]
        images = pipeline(
            prompt=rows,
            num_inference_steps=steps,
            guidance_scale=GUIDANCE,
            height=64,
            width=64,
            complex_human_instruction=None,
            use_resolution_binning=False,
            max_sequence_length=TOKENS,
            generator=noises,
        ).images
        yield from (np.asarray(image) for image in images[:count])


def load_scorer(detector: Path, colours: Path) -> Any:
    """The project's GenEval scorer over two of the miniature's folders."""
    from benchmarks.geneval.scorer import load_scorer

    return load_scorer({"detector": detector, "colors": colours}, {"batch_size": 16}, "cpu")


def verdicts(scorer: Any, requests: Sequence[Request], images: Sequence[Image]) -> list[bool]:
    """What a scorer says of image ``i`` for request ``i``."""
    from harness.records import Prompt

    prompts = [
        Prompt(str(number), request.text, request.tag, request.metadata)
        for number, request in enumerate(requests)
    ]
    return [bool(score.correct) for score, _ in scorer.score(prompts, images)]


def by_tag(requests: Sequence[Request], right: Sequence[bool]) -> dict[str, float]:
    """Share of true verdicts of each tag, their mean (macro) and the share of all (micro)."""
    groups: dict[str, list[bool]] = defaultdict(list)
    for request, verdict in zip(requests, right, strict=True):
        groups[request.tag].append(verdict)
    shares = {tag: float(np.mean(group)) for tag, group in groups.items()}
    shares["macro"] = float(np.mean(list(shares.values())))
    shares["micro"] = float(np.mean(right))
    return {name: round(share, 4) for name, share in shares.items()}


def benchmark_requests() -> list[Request]:
    """What the 553 published prompts ask for."""
    from benchmarks.geneval.prompts import metadata_rows
    from harness.miniature.prompts import from_metadata

    return [from_metadata(row) for row in metadata_rows()]


def measure_scenes(scorer: Any, requests: Sequence[Request], seed: int) -> dict[str, Any]:
    """Verdicts on scenes that show what is asked for, and on scenes with one planted error."""
    rng = np.random.default_rng(seed)
    true = [render(draw_scene(rng, request)).image for request in requests]
    false = [render(draw_scene(rng, with_fault(rng, request))).image for request in requests]
    accepted = by_tag(requests, verdicts(scorer, requests, true))
    rejected = by_tag(requests, [not said for said in verdicts(scorer, requests, false)])
    return {"true_scenes_accepted": accepted, "planted_errors_rejected": rejected}


def measure_speed(folder: Path, batches: Sequence[int]) -> dict[str, float]:
    """Images a second of the base model, decoding included, at each batch size."""
    speeds = {}
    for batch in batches:
        images = sample(folder, ["a photo of a red bench and a blue cow"] * (batch * 5), 0, batch)
        for _ in range(batch):
            next(images)
        start = time.perf_counter()
        count = len(list(images))
        speeds[str(batch)] = round(count / (time.perf_counter() - start), 2)
    return speeds


def grid(requests: Sequence[Request], images: Sequence[Image], columns: int = 10) -> Image:
    """One row of images a tag, evenly spread over its prompts and not chosen by hand.

    Returns:
        uint8, at twice the images' size.
    """
    rows = []
    for tag in TAGS:
        own = [image for r, image in zip(requests, images, strict=True) if r.tag == tag]
        picked = [own[number * len(own) // columns] for number in range(columns)]
        rows.append(np.concatenate(picked, axis=1))
    return np.concatenate(rows).repeat(2, axis=0).repeat(2, axis=1)


@click.command()
@click.option(
    "--weights",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=WEIGHTS,
    help="Folder with base, detector, judge and colors; the package's own by default.",
)
@click.option("--images", default=4, show_default=True, help="Images a prompt.")
@click.option("--batch", default=8, show_default=True, help="Images of the base's batch shape.")
@click.option("--seed", default=0, show_default=True)
@click.option("--speed/--no-speed", default=False, help="Also time generation at 1 to 32 images.")
@click.option(
    "--picture", type=click.Path(path_type=Path, dir_okay=False), help="Write a grid of samples."
)
def main(
    weights: Path, images: int, batch: int, seed: int, speed: bool, picture: Path | None
) -> None:
    """Measure the miniature over all 553 prompts; JSON on standard output."""
    font_path()
    requests = [request for request in benchmark_requests() for _ in range(images)]
    scorer = load_scorer(weights / "detector", weights / "colors")
    judge = load_scorer(weights / "judge", weights / "colors")
    report: dict[str, Any] = {
        "images": len(requests),
        "seed": seed,
        "batch": batch,
        "num_inference_steps": STEPS,
        "guidance_scale": GUIDANCE,
    }
    report["scorer_on_scenes"] = measure_scenes(scorer, requests, seed)
    report["judge_on_scenes"] = measure_scenes(judge, requests, seed)
    texts = [request.text for request in requests]
    start = time.perf_counter()
    drawn = list(sample(weights / "base", texts, seed, batch))
    report["images_per_second"] = round(len(drawn) / (time.perf_counter() - start), 2)
    scored, judged = verdicts(scorer, requests, drawn), verdicts(judge, requests, drawn)
    pairs = list(zip(scored, judged, strict=True))
    report["base"] = by_tag(requests, scored)
    report["judge_on_base"] = {
        "agreement": round(sum(a == b for a, b in pairs) / len(pairs), 4),
        "accepts_what_scorer_rejects": round(sum(b and not a for a, b in pairs) / len(pairs), 4),
        "rejects_what_scorer_accepts": round(sum(a and not b for a, b in pairs) / len(pairs), 4),
    }
    if speed:
        report["images_per_second_by_batch"] = measure_speed(weights / "base", (1, 4, 8, 16, 32))
    if picture:
        # A palette keeps the file small; the gradients do not need more.
        Pillow.fromarray(grid(requests, drawn)).quantize(96).save(picture, optimize=True)
    click.echo(json.dumps(report, indent=2))


if __name__ == "__main__":
    try:
        main()
    except HarnessError as error:
        click.echo(f"error: {error.message}\nhint: {error.hint}", err=True)
        sys.exit(error.exit_code)
