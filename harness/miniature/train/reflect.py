"""Stage 8: reflection. The base model learns to draw again with what went wrong in mind.

What Reflect-DiT was trained on (arXiv 2503.12271), with the renderer in the annotators' place: a
rejected image, a sentence that says why, and an image that is right. The target here is the
rejected scene with only its fault put right, so that heeding an image pays as well as heeding a
sentence. Text and vision encoder are frozen; all of the transformer learns, from the base's weights
and a new context.

Every row has feedback, the last one being that of the image to correct; a few rows lose caption and
feedback for guidance, as the pipeline's unconditional rows do. Draws without feedback are not this
transformer's: the base makes them (the checkpoint `plain` of `harness.models.reflect_dit`), so that
they stay what they were, bit for bit, and a gain is the feedback's.

At full size the recipe is the same with other parts: `Rejections` from the generator's own samples,
a detector's sentences and images that were accepted, in place of the rendered corrections.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers import SanaTransformer2DModel
from diffusers.models.attention_processor import AttnProcessor
from safetensors.torch import load_file
from torch import Tensor
from transformers import Gemma2Model, SiglipVisionModel

from harness.errors import HarnessError
from harness.miniature.train import base
from harness.miniature.train.feedback import Rejections, look, make_rejections, read
from harness.miniature.train.loop import Schedule, TrainConfig, bfloat16, fit, write_recipe
from harness.miniature.words import PAD
from harness.models.reflect_dit.context import DROPPED_TEXT_TOKENS, Context, lay_out
from harness.models.reflect_dit.transformer import SanaTransformer2DModelWithContext

PROMPTS, HELD_OUT = 2_000, 150
SEED = 61
SCHEDULE = Schedule(steps=1_800, batch=48, lr=8e-4, warmup=100, cooldown=0.5, ema=0.99)
"""Schedule of the weights of the world with habits. `docs/miniature.md` has what else was measured:
longer training is not better, and how plain draws are kept the base's decides what is learnt."""
IMAGE_TOKENS = 16
"""What an image is pooled to, beside 64 latents; at full size 64 tokens stand beside 1,024 latents.
Four times as many change little for 1.4 times the price (`docs/miniature.md`)."""
EMPTY_SHARE = 0.1
NUMBERS = (0.6, 0.2, 0.2)
"""Chances of one, two and three feedbacks in a step; one is the quickest to learn from."""
PEERS = len(NUMBERS) - 1


class Lessons(NamedTuple):
    """Rejections with their images and sentences encoded.

    Attributes:
        pool: The rejections.
        vision_tokens: Vision tokens, float16 (n, 16, channels).
        text_tokens: Text tokens of the sentences, float16 (n, 32, channels).
        text_mask: True for the tokens of a sentence, false for padding, bool (n, 32).
        peers: Other rejections of the same prompt, each with a sentence of its own; -1 where there
            are no more. int64 (n, 2).
    """

    pool: Rejections
    vision_tokens: Tensor
    text_tokens: Tensor
    text_mask: Tensor
    peers: Tensor


def train(setting: TrainConfig, schedule: Schedule = SCHEDULE) -> None:
    """Train and export to the world's folder."""
    judge = setting.world.judge_in(setting.out)
    needed = {"base": setting.denoiser, "vision": setting.out / "vision",
              "judge": judge["detector"], "judge_colors": judge["colors"]}  # fmt: skip
    for name, folder in needed.items():
        if not folder.is_dir():
            raise HarnessError(f"there is no folder {folder}", f"train the stage {name} first")
    text = Gemma2Model.from_pretrained(setting.denoiser / "text_encoder", dtype=torch.float32)
    text = text.to(setting.device).eval()
    lessons = make_lessons(setting, text, setting.count(PROMPTS), setting.seed + SEED)
    unseen = make_lessons(setting, text, setting.count(HELD_OUT), setting.seed + SEED + 1)
    torch.manual_seed(setting.seed + SEED)
    model = from_base(setting.denoiser / "transformer", unseen.vision_tokens.shape[-1]).to(
        setting.device
    )
    if setting.compile:
        for block in (*model.transformer_blocks, *model.reflection_transformer):
            block.compile(dynamic=False)

    def flow(data: Tensor, ids: Tensor, context: Context | None) -> Tensor:
        mask = (ids != PAD).long()
        with torch.no_grad():
            embeds = text(ids, attention_mask=mask, use_cache=False)[0]
        given: dict[str, Any] = {"attention_kwargs": {"context": context}} if context else {}

        def predict(noisy: Tensor, times: Tensor, _: Tensor) -> Tensor:
            return base.predicted_flow(model, noisy, times, embeds, mask, **given)

        return base.flow_loss(predict, data.float(), ids)

    def loss_of(rows: Tensor) -> Tensor:
        number = int(torch.multinomial(torch.tensor(NUMBERS), 1)) + 1
        dropped = torch.rand(len(rows)) < EMPTY_SHARE
        ids = torch.where(dropped[:, None], base.empty_caption(), lessons.pool.captions[rows])
        context = feedback_of(model, lessons, rows, number, dropped, setting.device)
        targets = lessons.pool.targets[rows].to(setting.device)
        return flow(targets, ids.to(setting.device), context)

    def measure() -> dict[str, float]:
        """The loss of unseen corrections, with the feedback, with another's, and without any."""
        losses_of: defaultdict[str, list[float]] = defaultdict(list)
        torch.manual_seed(0)
        order = torch.randperm(len(unseen.pool))
        for rows in torch.split(order, schedule.batch):
            seed = int(torch.randint(2**31, ()))
            ids, targets = (
                part[rows].to(setting.device)
                for part in (unseen.pool.captions, unseen.pool.targets)
            )
            dropped = torch.zeros(len(rows), dtype=torch.bool)
            shown_as = {"feedback": rows, "anothers_feedback": rows.roll(1), "no_feedback": None}
            with torch.no_grad():
                for what, shown in shown_as.items():
                    context = None
                    if shown is not None:
                        context = feedback_of(model, unseen, shown, 1, dropped, setting.device)
                    torch.manual_seed(seed)
                    losses_of[what].append(float(flow(targets, ids, context)))
        return {
            f"flow_loss_with_{what}": round(sum(losses) / len(losses), 5)
            for what, losses in losses_of.items()
        }

    recipe = fit(model, loss_of, len(lessons.pool), schedule, setting, "reflect", measure=measure)
    metric = measure()
    folder = setting.out / setting.world.reflect
    model.to(torch.float16).save_pretrained(folder)
    write_recipe(
        folder, recipe,
        rejections=len(lessons.pool), prompts=setting.count(PROMPTS),
        held_out_rejections=len(unseen.pool), held_out=metric,
        chances_of_1_2_3_feedbacks=NUMBERS, empty_share=EMPTY_SHARE,
    )  # fmt: skip


def from_base(folder: Path, vision_channels: int) -> SanaTransformer2DModelWithContext:
    """The context transformer with a base transformer's weights; its context is new."""
    model: SanaTransformer2DModelWithContext = SanaTransformer2DModelWithContext.from_config(
        SanaTransformer2DModel.load_config(folder), vision_feature_dim=vision_channels
    )
    weights = load_file(folder / "diffusion_pytorch_model.safetensors")
    _, unexpected = model.load_state_dict(weights, strict=False)
    if unexpected:
        raise HarnessError(f"{folder} is no SANA transformer: {sorted(unexpected)[:3]}")
    _begin_context(model)
    for block in model.transformer_blocks:
        # As in the base's training: plain products are quicker at so few tokens.
        block.attn2.set_processor(AttnProcessor())
    return model


def _begin_context(model: SanaTransformer2DModelWithContext) -> None:
    """Let the new context speak as captions do, at half their strength.

    Sentences are projected as captions are, and the context blocks begin as identities. How loud
    the context begins is what all of its learning hangs on. From zero, as published, a thousand
    steps brought the gain to 0.02. At ones it took 93% of the captions' attention, and the
    transformer learnt to shut it out: after 2,000 steps 0.01% was left, and feedback made no
    difference to the loss.
    """
    model.reflection_text_projection.load_state_dict(model.caption_projection.state_dict())
    for name, parameter in model.reflection_transformer.named_parameters():
        if ".attn1.to_out." in name or ".ff.down_proj." in name:
            torch.nn.init.zeros_(parameter)
    with torch.no_grad():
        model.reflection_norm.weight.copy_(0.5 * model.caption_norm.weight)


def make_lessons(setting: TrainConfig, text: Gemma2Model, size: int, seed: int) -> Lessons:
    """Reject images for ``size`` prompts and encode them."""
    pool = make_rejections(setting, size, seed)
    if not len(pool):
        raise HarnessError("the judge rejects nothing", "raise --scale, or train the judge longer")
    vision = SiglipVisionModel.from_pretrained(setting.out / "vision", dtype=torch.float32)
    return Lessons(
        pool,
        look(vision.to(setting.device).eval(), pool.images, IMAGE_TOKENS, setting.device),
        read(text, pool.sentences, setting.device, PAD),
        pool.sentences != PAD,
        peers_of(pool.prompts, pool.kinds),
    )


def peers_of(prompts: Tensor, kinds: Tensor) -> Tensor:
    """Up to two others of each rejection's prompt (ascending), with sentences of their own."""
    groups: dict[int, dict[int, int]] = {}
    for row, (prompt, kind) in enumerate(zip(prompts.tolist(), kinds.tolist(), strict=True)):
        groups.setdefault(prompt, {}).setdefault(kind, row)
    peers = torch.full((len(prompts), PEERS), -1)
    for row, (prompt, kind) in enumerate(zip(prompts.tolist(), kinds.tolist(), strict=True)):
        others = [peer for other, peer in groups[prompt].items() if other != kind][:PEERS]
        peers[row, : len(others)] = torch.tensor(others, dtype=torch.int64)
    return peers


def feedback_of(
    model: SanaTransformer2DModelWithContext,
    lessons: Lessons,
    rows: Tensor,
    number: int,
    dropped: Tensor,
    device: str,
) -> Context:
    """Lay out the feedback of a batch as generation does (`harness.models.reflect_dit.context`).

    Args:
        model: Projects images and sentences.
        lessons: Where from.
        rows: The rejections to correct; their own feedback stands last.
        number: Feedbacks a row, fewer where a prompt has fewer.
        dropped: Rows that stand for the unconditional half of a guidance pair, bool (n,).
        device: Torch device.
    """
    peers = lessons.peers[rows]
    order = torch.where(peers >= 0, torch.rand(peers.shape), -1.0)
    chosen = peers.gather(1, order.argsort(1, descending=True)[:, : number - 1])
    shown = torch.cat([chosen, rows[:, None]], dim=1)
    present = shown >= 0
    # A missing one is any row's, and masked.
    shown = shown.clamp(min=0)
    images = lessons.vision_tokens[shown].float().to(device)
    words = lessons.text_tokens[shown].float().to(device)
    with bfloat16(device):
        tokens = torch.cat([model.embed_image(images), model.embed_sentence(words)], dim=2)
    text_mask = lessons.text_mask[shown] & present[..., None]
    looked = present[..., None].expand(*present.shape, images.shape[2])
    real = torch.cat([looked, text_mask], dim=2).flatten(1).to(device)
    rows_of = zip(tokens.flatten(1, 2).float(), real, dropped, strict=True)
    sequences = [row[:0] if is_dropped else row[own] for row, own, is_dropped in rows_of]
    spans = real.sum(1).clamp(min=images.shape[2] + DROPPED_TEXT_TOKENS).tolist()
    return lay_out(sequences, spans, images.shape[2], real.shape[1])
