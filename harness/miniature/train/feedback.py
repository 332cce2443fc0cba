"""Rejected images, what the judge says of them, and what they should have been.

Three in four images are samples of the base model, one a rendered scene with a fault after a round
trip through the autoencoder. The judge is the one that searches will consult, so the sentences
are the ones that generation will be given. The benchmark's scorer has no part in this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import SiglipVisionModel

from benchmarks.geneval.classes import TAGS
from benchmarks.geneval.loading import load_scorer
from benchmarks.geneval.prompts import Request
from benchmarks.geneval.rules import sentences
from benchmarks.geneval.scorer import Examination
from harness.miniature.corrections import Sighting, corrected, edge_colours, flawed
from harness.miniature.evaluate import sample
from harness.miniature.prompts import draw_request, draw_scene
from harness.miniature.scenes import SIDE, render
from harness.miniature.train import autoencoder
from harness.miniature.train.base import encode, token_ids
from harness.miniature.train.data import in_parts, to_signed
from harness.miniature.train.detector import worn
from harness.miniature.train.loop import TrainConfig, cached
from harness.models.reflect_dit.vision import pooled
from harness.records import Loading

TAG_SHARES = (0.08, 0.18, 0.2, 0.14, 0.2, 0.2)
"""Kinds of prompt, in the order of ``TAGS``; single objects seldom need a second draw."""
SAMPLES, FAULTS = 3, 1
"""Images of each kind that are looked at for a prompt; accepted ones are left out."""
STEPS = 8
"""Sampling steps of the images to be rejected; a few less than searches take, to save time."""
BATCH = 16
"""Images of the one batch shape they are sampled at."""
CAPTION_TOKENS, SENTENCE_TOKENS = 24, 32


@dataclass(frozen=True)
class Rejections:
    """Rejected images, in the order of their prompts.

    Attributes:
        prompts: Number of each image's prompt, int64 (n,).
        images: uint8, (n, 3, 64, 64).
        captions: Token numbers of the prompts, (n, 24).
        sentences: Token numbers of what the judge says, (n, 32).
        kinds: A number for each different sentence, int64 (n,).
        targets: Latents of the corrected scenes, float16 (n, channels, 8, 8).
    """

    prompts: Tensor
    images: Tensor
    captions: Tensor
    sentences: Tensor
    kinds: Tensor
    targets: Tensor

    def __len__(self) -> int:
        """The number of rejected images."""
        return len(self.prompts)


def make_rejections(setting: TrainConfig, size: int, seed: int) -> Rejections:
    """Make the images for ``size`` prompts and keep the rejected ones; kept in the work folder."""
    file = setting.work / f"rejections-{seed}-{size}.pt"
    samples = file.with_suffix(".samples")
    rejections = Rejections(**cached(file, lambda: vars(_made(setting, size, seed, samples))))
    samples.unlink(missing_ok=True)
    return rejections


def _made(setting: TrainConfig, size: int, seed: int, samples: Path) -> Rejections:
    rng = np.random.default_rng(seed)
    requests = [draw_request(rng, str(rng.choice(TAGS, p=TAG_SHARES))) for _ in range(size)]
    vae = autoencoder.load(setting)
    click.echo(f"reflect: {size * FAULTS} scenes with a fault, {size * SAMPLES} samples")
    scenes = [draw_scene(rng, flawed(rng, r)) for r in requests for _ in range(FAULTS)]
    rendered = torch.from_numpy(np.stack([render(scene).image for scene in scenes]))
    faulty = worn(vae, rendered.permute(0, 3, 1, 2).contiguous(), seed, setting.device)
    texts = [request.text for request in requests for _ in range(SAMPLES)]
    images = [image.permute(1, 2, 0).numpy() for image in faulty]
    images += list(sampled(setting, texts, seed, samples))
    owners = [n for count in (FAULTS, SAMPLES) for n in range(size) for _ in range(count)]

    judge = setting.world.judge_in(setting.out)
    examiner = load_scorer(Loading(judge, device=setting.device, dtype="float32", batch_size=16))
    asked = [request.prompt(str(number)) for number, request in enumerate(requests)]
    rejected: list[tuple[int, NDArray[np.uint8], Examination]] = []
    # Part by part: what was seen holds a mask for every object.
    for start in range(0, len(images), 256):
        part = slice(start, start + 256)
        examinations = examiner.examine([asked[n] for n in owners[part]], images[part])
        for owner, image, examination in zip(owners[part], images[part], examinations, strict=True):
            if not examination.outcome.correct and sentences(examination.outcome.failures):
                rejected.append((owner, image, examination))
    rejected.sort(key=lambda row: row[0])
    click.echo(f"reflect: {len(rejected)} of {len(images)} images rejected")
    mended = [
        _mended(rng, requests[owner], image, examination) for owner, image, examination in rejected
    ]
    targets = torch.from_numpy(np.stack(mended)).permute(0, 3, 1, 2).contiguous()
    faults = [sentences(examination.outcome.failures) for _, _, examination in rejected]
    numbers = {sentence: number for number, sentence in enumerate(dict.fromkeys(faults))}
    return Rejections(
        prompts=torch.tensor([owner for owner, _, _ in rejected]),
        images=torch.from_numpy(np.stack([image for _, image, _ in rejected])).permute(0, 3, 1, 2),
        captions=token_ids([requests[owner].text for owner, _, _ in rejected], CAPTION_TOKENS),
        sentences=token_ids(faults, SENTENCE_TOKENS),
        kinds=torch.tensor([numbers[sentence] for sentence in faults]),
        targets=encode(vae, targets, setting.device),
    )


def sampled(setting: TrainConfig, texts: Sequence[str], seed: int, file: Path) -> NDArray[np.uint8]:
    """Sample the base, one image a text; images that the file holds already are not made again.

    Sampling is most of this stage's time, so every image is written as soon as it is there.

    Returns:
        uint8, (n, 64, 64, 3).
    """
    shape = (SIDE, SIDE, 3)
    length = int(np.prod(shape))
    with file.open("ab") as stored:
        first = stored.tell() // length // BATCH * BATCH
        stored.truncate(first * length)
        if first:
            click.echo(f"reflect: {first} of {len(texts)} samples are there")
        if first < len(texts):
            components = setting.world.components_in(setting.out)
            for image in sample(
                setting.out / "base", texts, seed, BATCH,
                components=components, steps=STEPS, device=setting.device, first=first,
            ):  # fmt: skip
                stored.write(image.tobytes())
                stored.flush()
    return np.fromfile(file, np.uint8, len(texts) * length).reshape(-1, *shape)


def _mended(
    rng: np.random.Generator, request: Request, image: NDArray[np.uint8], examination: Examination
) -> NDArray[np.uint8]:
    """The corrected scene, rendered, from what the judge saw and counts as objects."""
    boxes = examination.detections.boxes.tolist()
    counted = sorted(number for numbers in examination.objects.values() for number in numbers)
    sightings = [Sighting(examination.detections.labels[n], tuple(boxes[n])) for n in counted]
    return render(corrected(rng, request, sightings, edge_colours(image, sightings))).image


def look(encoder: SiglipVisionModel, images: Tensor, tokens: int, device: str) -> Tensor:
    """Return the vision encoder's tokens of uint8 images, float16 (n, tokens, channels)."""

    def encoded(part: Tensor) -> Tensor:
        states = encoder(pixel_values=to_signed(part).to(device)).last_hidden_state
        return pooled(states, tokens).to("cpu", torch.float16)

    return in_parts(encoded, images, 256)


def read(encoder: torch.nn.Module, ids: Tensor, device: str, pad: int) -> Tensor:
    """The text encoder's tokens of padded sentences, float16 (n, length, channels)."""

    def encoded(part: Tensor) -> Tensor:
        mask = (part != pad).long().to(device)
        states: Tensor = encoder(part.to(device), attention_mask=mask, use_cache=False)[0]
        return states.to("cpu", torch.float16)

    return in_parts(encoded, ids, 512)
