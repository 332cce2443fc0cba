"""Stages 5 and 6: the CLIPs that name an object's colour by GenEval's zero-shot procedure.

They are trained through the very steps that the benchmark takes: crops of masked objects over grey,
and text directions averaged over the benchmark's templates. Masks are made as imperfect as a
detector's. An object in its natural colours has no one right answer: its target is the share of
its pixels that are nearest to each colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import click
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

from benchmarks.geneval.classes import CLASSES
from benchmarks.geneval.colors import (
    ClipImageSettings,
    Crop,
    clip_pixels,
    color_directions,
    color_texts,
)
from harness.miniature.glyphs import COLOURS
from harness.miniature.scenes import SIDE
from harness.miniature.train.data import NATURAL, Pool, in_parts
from harness.miniature.train.detector import worn_pool
from harness.miniature.train.loop import Schedule, TrainConfig, fit, write_recipe
from harness.miniature.words import make_clip_tokenizer

HELD_OUT = 1_000
INPUT = 32
"""Side of CLIP's input in pixels."""
POSITIONS = 16
NAMES = 6
"""Class names whose texts a step compares; an object is not always called what it is, because a
detector may take it for something else."""
IMAGES = ClipImageSettings(shortest_edge=INPUT, crop=(INPUT, INPUT))


@dataclass(frozen=True)
class Variant:
    """The differences between the scorer's and the judge's colours.

    Attributes:
        name: The stage, and its folder among the weights.
        scenes: Scenes in the pool; every other one's objects are cut out.
        pool_seed: Seed of the pool: that of a detector, whose pool is made already.
        seed: Seed of masks and training.
        schedule: How long and how fast.
    """

    name: str
    scenes: int
    pool_seed: int
    seed: int
    schedule: Schedule


SCORER = Variant(
    "colors", 20_000, 21, 41,
    Schedule(steps=1_000, batch=128, lr=2e-3, cooldown=0.5, ema=0.99, weight_decay=0.05),
)  # fmt: skip
JUDGE = Variant(
    "judge_colors", 8_000, 31, 43,
    Schedule(steps=300, batch=128, lr=2e-3, cooldown=0.5, ema=0.97, weight_decay=0.05),
)  # fmt: skip
"""Of its own seed and scenes: a judge that borrowed the scorer's colours would never differ from it
about one."""
KEENER = replace(
    JUDGE, name="habits_judge_colors", scenes=16_000, schedule=replace(JUDGE.schedule, steps=800)
)
"""The colours of the judge of the world with habits."""


def make_model() -> CLIPModel:
    """A CLIP with fresh weights and the miniature's vocabulary."""
    tokenizer = make_clip_tokenizer(POSITIONS)
    tower = {"hidden_size": 64, "intermediate_size": 160, "num_attention_heads": 4}
    text = {
        **tower, "num_hidden_layers": 2, "vocab_size": len(tokenizer),
        "max_position_embeddings": POSITIONS, "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    vision = {**tower, "num_hidden_layers": 3, "image_size": INPUT, "patch_size": 8}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=48))


def colour_shares(image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The share of an object's pixels that are nearest to each of the ten colours, (10,)."""
    palette = np.array(list(COLOURS.values()), np.float32)
    pixels = image[mask].astype(np.float32)
    nearest = np.square(pixels[:, None] - palette).sum(-1).argmin(1)
    shares = np.bincount(nearest, minlength=len(palette)) / max(1, len(pixels))
    return shares.astype(np.float32)


def make_crops(pool: Pool, images: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Cut every object of a pool out of some version of its first n images, uint8 (n, 3, 64, 64).

    Returns:
        CLIP's inputs (m, 3, 32, 32) in float16; the colours' target shares (m, 10); the colour
        numbers (m,), ``NATURAL`` for natural colours.
    """
    rng = np.random.default_rng(seed)
    rendered = pool.images.permute(0, 2, 3, 1).numpy()
    shown = images.permute(0, 2, 3, 1).contiguous().numpy()
    crops, targets, colours = [], [], []
    for row in range(len(images)):
        foreground = pool.foreground[row].numpy()
        for number in range(int((pool.classes[row] >= 0).sum())):
            own = foreground == number + 1
            colour = int(pool.colours[row, number])
            if colour == NATURAL:
                target = colour_shares(rendered[row], own)
            else:
                target = np.eye(len(COLOURS), dtype=np.float32)[colour]
            box = pool.boxes[row, number].numpy() + rng.uniform(-1.5, 1.5, 4).astype(np.float32)
            box = box.clip(0, SIDE)
            mask = _imperfect(own, rng)
            crop = Crop(shown[row], mask, box, CLASSES[int(pool.classes[row, number])])
            crops.append(clip_pixels(crop, IMAGES).astype(np.float16))
            targets.append(target)
            colours.append(colour)
    return (
        torch.from_numpy(np.stack(crops)),
        torch.from_numpy(np.stack(targets)),
        torch.tensor(colours),
    )


def _imperfect(mask: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """A mask as a detector might give it: grown, shrunk or as it is."""
    kind = rng.integers(3)
    if kind == 0:
        grown: NDArray[np.bool_] = ndimage.binary_dilation(mask)
        return grown
    if kind == 1:
        shrunk: NDArray[np.bool_] = ndimage.binary_erosion(mask)
        return shrunk if shrunk.sum() > 20 else mask
    return mask


def _tokens(tokenizer: CLIPTokenizer, names: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Token numbers and mask of each class name's texts, (names, texts, positions) each."""
    texts = [text for name in names for text in color_texts(name)]
    tokens = tokenizer(
        texts, padding="max_length", truncation=True, max_length=POSITIONS, return_tensors="pt"
    )
    ids, mask = tokens["input_ids"], tokens["attention_mask"]
    return ids.reshape(len(names), -1, POSITIONS), mask.reshape(len(names), -1, POSITIONS)


def _image_features(model: CLIPModel, crops: Tensor) -> Tensor:
    pooled = model.vision_model(pixel_values=crops).pooler_output
    return functional.normalize(model.visual_projection(pooled).float(), dim=-1)


def _accuracy(model: CLIPModel, tokenizer: CLIPTokenizer, crops: Tensor, colours: Tensor) -> float:
    """Share of the objects that were painted one colour whose colour is named right."""
    painted = colours != NATURAL
    tokens = (part.flatten(0, 1).to(model.device) for part in _tokens(tokenizer, CLASSES))
    with torch.no_grad():
        directions = color_directions(model, *tokens).mean(0)
    features = in_parts(lambda p: _image_features(model, p.float().to(model.device)), crops, 256)
    named = (features @ directions.T).argmax(1).cpu()
    return float((named == colours)[painted].float().mean())


def train(setting: TrainConfig, variant: Variant = SCORER) -> None:
    """Train and export to the variant's folder in ``out``."""
    name, schedule = variant.name, variant.schedule
    seed, pool_seed = setting.seed + variant.seed, setting.seed + variant.pool_seed
    pool, worn_images = worn_pool(setting, variant.scenes, pool_seed, name)
    unseen, worn_unseen = worn_pool(setting, HELD_OUT, pool_seed + 1, name)
    click.echo(f"{name}: cutting objects out")
    used = setting.count(variant.scenes // 2)
    clean = make_crops(pool, pool.images[:used], seed)
    worn = make_crops(pool, worn_images[:used], seed + 1)
    crops = torch.cat([clean[0], worn[0]])
    targets = torch.cat([clean[1], worn[1]])
    setting = replace(setting, seed=seed)
    torch.manual_seed(seed)
    model = make_model().to(setting.device)
    tokenizer = make_clip_tokenizer(POSITIONS)
    all_ids, all_masks = _tokens(tokenizer, CLASSES)

    def loss_of(rows: Tensor) -> Tensor:
        names = torch.randint(len(CLASSES), (NAMES,))
        ids = all_ids[names].flatten(0, 1).to(setting.device)
        masks = all_masks[names].flatten(0, 1).to(setting.device)
        directions = color_directions(model, ids, masks)
        pixels = crops[rows].float().to(setting.device)
        strength = 0.3 * torch.rand(len(rows), 1, 1, 1, device=pixels.device)
        pixels = pixels + strength * torch.randn_like(pixels)
        called = torch.randint(NAMES, (len(rows),), device=pixels.device)
        features = _image_features(model, pixels)
        logits = torch.einsum("bd,bcd->bc", features, directions[called]) * model.logit_scale.exp()
        return functional.cross_entropy(logits, targets[rows].to(setting.device))

    recipe = fit(model, loss_of, len(crops), schedule, setting, name)
    held_out = {}
    for what, images in (("rendered", unseen.images), ("worn", worn_unseen)):
        cut, _, colours = make_crops(unseen, images, seed + 2)
        held_out[f"{what}_painted_accuracy"] = round(_accuracy(model, tokenizer, cut, colours), 4)
    click.echo(f"{name}: held out {held_out}")
    folder = setting.out / name
    model.to(torch.float16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    processor = CLIPImageProcessor(
        size={"shortest_edge": INPUT}, crop_size={"height": INPUT, "width": INPUT}
    )
    processor.save_pretrained(folder)
    write_recipe(
        folder, recipe,
        crops=len(crops), held_out_scenes=len(unseen), held_out=held_out,
        parameters=sum(weight.numel() for weight in model.parameters()),
    )  # fmt: skip
