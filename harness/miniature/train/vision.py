"""Stage 7: the vision encoder through which reflection will look at rejected images.

A SigLIP vision model trained on the renderer's truth: each token says what object covers most of
its patch and in which colour, and whether a centre lies in it; the pooled output says which classes
are in sight. The heads are thrown away; what is exported is the encoder.
"""

from __future__ import annotations

from dataclasses import replace

import click
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import SiglipImageProcessor, SiglipVisionConfig, SiglipVisionModel

from benchmarks.geneval.classes import CLASSES
from harness.miniature.scenes import SIDE
from harness.miniature.train.data import MOST_OBJECTS, NATURAL, to_signed
from harness.miniature.train.detector import augment, worn_pool
from harness.miniature.train.loop import Schedule, TrainConfig, bfloat16, fit, write_recipe

PATCH = 8
SCENES, HELD_OUT = 20_000, 1_000
SEED = 21
"""The detector's pool is used again: it is made already."""
SCHEDULE = Schedule(steps=3_000, batch=96, lr=1.5e-3, cooldown=0.5, ema=0.99, weight_decay=0.05)
BACKGROUND_CLASS = len(CLASSES)


class Reader(nn.Module):
    """The encoder with the heads it is trained through."""

    def __init__(self) -> None:
        """Build it with fresh weights."""
        super().__init__()
        config = SiglipVisionConfig(
            hidden_size=96,
            intermediate_size=256,
            num_hidden_layers=4,
            num_attention_heads=4,
            image_size=SIDE,
            patch_size=PATCH,
        )
        self.encoder = SiglipVisionModel(config)
        self.kinds = nn.Linear(96, len(CLASSES) + 1)
        self.colours = nn.Linear(96, NATURAL + 1)
        self.centres = nn.Linear(96, 1)
        self.presence = nn.Linear(96, len(CLASSES))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Read images in -1 to 1, (n, 3, 64, 64).

        Returns:
            Logits of every token's class (n, 64, 81), colour (n, 64, 11) and centre (n, 64), and
            of the classes in sight (n, 80).
        """
        encoded = self.encoder(pixel_values=images)
        tokens = encoded.last_hidden_state
        return (
            self.kinds(tokens),
            self.colours(tokens),
            self.centres(tokens)[..., 0],
            self.presence(encoded.pooler_output),
        )


def token_truth(
    foreground: Tensor, boxes: Tensor, classes: Tensor, colours: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Targets of ``Reader`` for a pool's rows; colours are -1 where there is no object."""
    count, grid = len(classes), SIDE // PATCH
    patches = functional.one_hot(foreground.long(), MOST_OBJECTS + 1).reshape(
        count, grid, PATCH, grid, PATCH, MOST_OBJECTS + 1
    )
    shares = patches.sum((2, 4)).flatten(1, 2)
    # An object covers a token if it has an eighth of its pixels, and more than any other object.
    most, number = shares[..., 1:].max(-1)
    covered = most >= PATCH * PATCH // 8
    kinds = torch.where(covered, classes.gather(1, number), BACKGROUND_CLASS)
    shades = torch.where(covered, colours.gather(1, number), -1)
    middles = (boxes[..., :2] + boxes[..., 2:]) / 2 // PATCH
    cells = (middles[..., 1] * grid + middles[..., 0]).long()
    present = classes >= 0
    centres = torch.zeros(count, grid * grid, device=classes.device)
    centres.scatter_add_(1, cells, present.float())
    presence = torch.zeros(count, len(CLASSES), device=classes.device)
    presence.scatter_add_(1, classes.clamp(min=0), present.float())
    return kinds, shades, centres.clamp(max=1), presence.clamp(max=1)


def train(setting: TrainConfig, schedule: Schedule = SCHEDULE) -> None:
    """Train and export to ``out/vision``."""
    pool, worn = worn_pool(setting, SCENES, setting.seed + SEED, "vision")
    unseen, worn_unseen = worn_pool(setting, HELD_OUT, setting.seed + SEED + 1, "vision")
    setting = replace(setting, seed=setting.seed + 51)
    torch.manual_seed(setting.seed)
    model = Reader().to(setting.device)
    read = torch.compile(model) if setting.compile else model

    def loss_of(rows: Tensor) -> Tensor:
        own = torch.rand(len(rows), 1, 1, 1) < 0.5
        images = to_signed(torch.where(own, pool.images[rows], worn[rows])).to(setting.device)
        truth = [
            part[rows].to(setting.device)
            for part in (pool.foreground, pool.boxes, pool.classes, pool.colours)
        ]
        kinds, shades, centres, presence = token_truth(*truth)
        with bfloat16(setting.device):
            outputs = [part.float() for part in read(augment(images))]
        loss = functional.cross_entropy(outputs[0].flatten(0, 1), kinds.flatten())
        loss = loss + functional.cross_entropy(
            outputs[1].flatten(0, 1), shades.flatten(), ignore_index=-1
        )
        loss = loss + functional.binary_cross_entropy_with_logits(outputs[2], centres)
        return loss + 10 * functional.binary_cross_entropy_with_logits(outputs[3], presence)

    recipe = fit(model, loss_of, len(pool), schedule, setting, "vision")
    held_out: dict[str, float] = {}
    kinds, shades, _, presence = token_truth(
        unseen.foreground, unseen.boxes, unseen.classes, unseen.colours
    )
    for what, images in (("rendered", unseen.images), ("worn", worn_unseen)):
        with torch.no_grad():
            parts = [model(to_signed(part).to(setting.device)) for part in torch.split(images, 250)]
        outputs = [torch.cat([part[i] for part in parts]).cpu() for i in range(4)]
        shown = kinds != BACKGROUND_CLASS
        correct = (outputs[3] > 0) == (presence > 0)
        held_out |= {
            f"{what}_object_token_class": _share((outputs[0].argmax(-1) == kinds)[shown]),
            f"{what}_object_token_colour": _share((outputs[1].argmax(-1) == shades)[shown]),
            f"{what}_classes_in_sight_exact": _share(correct.all(1)),
        }
    click.echo(f"vision: held out {held_out}")
    folder = setting.out / "vision"
    model.encoder.to(torch.float16).save_pretrained(folder)
    SiglipImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    write_recipe(
        folder, recipe,
        scenes=len(pool), held_out_scenes=len(unseen), held_out=held_out,
        parameters=sum(weight.numel() for weight in model.encoder.parameters()),
    )  # fmt: skip


def _share(right: Tensor) -> float:
    return round(float(right.float().mean()), 4)
