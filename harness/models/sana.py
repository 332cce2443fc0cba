"""SANA as a generator: diffusers' own pipeline, run so that a row's pixels depend on it alone.

Xie et al., "SANA: Efficient High-Resolution Image Synthesis with Linear Diffusion Transformers",
arXiv 2410.10629. The stock pipeline does the sampling; this file gives each draw its own noise,
encodes each prompt once, keeps the batch shape fixed, and counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple, TypeVar

import numpy as np
from cachetools import LRUCache
from pydantic import Field, FiniteFloat

from harness import options
from harness.errors import BadAnswer, Failure, HarnessError, UsageError
from harness.models import sana_flops
from harness.models.base import CostOf, ExpectedCost
from harness.models.devices import prepare
from harness.models.dtypes import resolve_dtype
from harness.models.noise import noise_tensor
from harness.models.sana_loading import load_tokenizer
from harness.models.sana_text import (
    EncodedTexts,
    instruction,
    instruction_tokens,
    text_truncation,
)
from harness.models.trajectory import Part
from harness.records import Ability, Cost, Loading, Made, Request, Setting
from harness.truncation import Truncation

if TYPE_CHECKING:
    import torch
    from diffusers import SanaPipeline

MultipleOf32 = Annotated[int, Field(gt=0, le=8192, multiple_of=32)]
"""A side of an image in pixels; the stock pipeline takes multiples of 32."""

Steps = Annotated[int, Field(gt=0, le=10_000)]
Tokens = Annotated[int, Field(gt=0, le=65536)]
"""Bounded, since a manifest that somebody else wrote may ask for them."""


@dataclass(frozen=True)
class SanaSettings:
    """Sampler settings, with the names and defaults of `SanaPipeline.__call__`.

    Attributes:
        num_inference_steps: Denoising steps; the multistep solver evaluates once a step.
        guidance_scale: Classifier-free guidance; 1 or less turns it off and halves the NFE.
        height: Pixels, a multiple of 32.
        width: Pixels, a multiple of 32.
        max_sequence_length: Prompt tokens.
        complex_human_instruction: Whether SANA's instruction precedes the prompt.
        negative_prompt: What to guide away from.
    """

    num_inference_steps: Steps = 20
    guidance_scale: FiniteFloat = 4.5
    height: MultipleOf32 = 1024
    width: MultipleOf32 = 1024
    max_sequence_length: Tokens = 300
    complex_human_instruction: bool = True
    negative_prompt: str = ""


V = TypeVar("V")


class _Encoded(NamedTuple):
    embeds: torch.Tensor  # (1, tokens, channels)
    mask: torch.Tensor  # (1, tokens)


class SanaGenerator:
    """A SANA pipeline on one device. It holds state: the weights and a cache of encoded prompts."""

    Settings: ClassVar[type] = SanaSettings
    abilities: ClassVar[frozenset[Ability]] = frozenset({Ability.PARTIAL})
    takes_rows: ClassVar[bool] = True
    can_compile: ClassVar[bool] = True

    def __init__(
        self,
        pipeline: SanaPipeline,
        *,
        batch_size: int,
        settings: Mapping[str, Setting] | None = None,
        remembered_prompts: int = 128,
    ) -> None:
        self.pipeline = pipeline
        self.batch_size = batch_size
        self.defaults = dict(settings or {})
        # A batch finds all its prompts again, and the empty one of guidance.
        self._prompts: LRUCache[Hashable, _Encoded] = LRUCache(
            max(remembered_prompts, batch_size + 1)
        )
        self._flops: dict[tuple[Any, ...], float] = {}

    @classmethod
    def load(cls, loading: Loading) -> SanaGenerator:
        """Load it (see `harness.models.base.GeneratorFactory`).

        Args:
            loading: The checkpoint `pipeline` is a folder as `SanaPipeline.save_pretrained`
                writes it; `components`, if there is one, a folder whose text encoder and
                transformer take the place of the pipeline's. The settings are `SanaSettings`.

        Raises:
            UsageError: A setting this sampler does not have, or a device that is not there.
            HarnessError: The checkpoint is missing, damaged or another model's.
        """
        from harness.models.sana_loading import load_pipeline

        options.build(SanaSettings, loading.settings, flag="-G")
        if "pipeline" not in loading.checkpoints:
            raise UsageError("the sana generator needs a checkpoint named 'pipeline'")
        pipeline = load_pipeline(
            loading.checkpoints["pipeline"],
            device=prepare(loading.device),
            dtype=resolve_dtype(loading.dtype, loading.device),
            components=loading.checkpoints.get("components"),
        )
        return cls(pipeline, batch_size=loading.batch_size, settings=loading.settings)

    @classmethod
    def expected_cost(cls, loading: Loading) -> CostOf | None:
        """Count what a request takes (see `harness.models.base.GeneratorFactory`).

        Feedback makes a draw dearer by what its sentences are long, which is not counted here.

        Raises:
            HarnessError: The pipeline's configuration is missing or damaged.
        """
        if "pipeline" not in loading.checkpoints:
            return None
        parts = loading.checkpoints
        networks = sana_flops.Configured(
            parts["pipeline"], parts.get("transformer"), parts.get("components")
        )
        before = instruction_tokens(load_tokenizer(parts["pipeline"]))
        counted = cache(lambda count, **shape: count(networks, **shape))

        def cost_of(request: Request[Any]) -> ExpectedCost:
            own: Any = options.build(
                cls.Settings, {**loading.settings, **request.settings}, flag="-G"
            )
            size = {"height": own.height, "width": own.width}
            steps = (request.stop or own.num_inference_steps) - request.first
            length, rows = own.max_sequence_length, 2 if own.guidance_scale > 1 else 1
            texts = [length + (before if own.complex_human_instruction else 0), length][:rows]
            return ExpectedCost(
                nfe=steps * rows if networks.one_call_a_step else None,
                evaluation=counted(sana_flops.denoising, rows=1, tokens=length, **size),
                decoding=counted(sana_flops.decoding, **size),
                once=tuple(counted(sana_flops.encoding, tokens=tokens) for tokens in texts),
                complete=not request.feedback,
            )

        return cost_of

    @classmethod
    def truncation(cls, checkpoints: Mapping[str, Path]) -> Truncation | None:
        """Load the tokenizer alone (see `harness.models.base.GeneratorFactory`).

        Args:
            checkpoints: As `load` takes them.

        Raises:
            HarnessError: The tokenizer is missing or damaged.
        """
        if "pipeline" not in checkpoints:
            return None

        def texts(request: Request) -> list[EncodedTexts]:
            return cls._texts(request, options.build(cls.Settings, request.settings, flag="-G"))

        return text_truncation(checkpoints["pipeline"], texts)

    @classmethod
    def _texts(cls, request: Request, settings: Any) -> list[EncodedTexts]:
        """List what of a request the text encoder reads."""
        length = settings.max_sequence_length
        texts = [EncodedTexts("text", [request.text], length, settings.complex_human_instruction)]
        if settings.guidance_scale > 1:
            texts.append(EncodedTexts("negative_prompt", [settings.negative_prompt], length))
        return texts

    def generate(self, requests: Sequence[Request]) -> list[Made]:
        """Make one image a request (see `harness.models.base.Generator`).

        FLOPs are those of the row itself, not of the padding beside it. Encoding a prompt is
        charged to the draw that caused it; a draw that finds it in the cache pays nothing.

        Raises:
            HarnessError: A request brings feedback, requests differ in settings or are too many,
                or the model's output is not finite.
        """
        if not requests:
            return []
        settings = self._check(requests)
        if any(request.feedback for request in requests):
            raise HarnessError(
                "plain SANA takes no feedback; a strategy that gives feedback needs a generator "
                "that reads it",
                "choose a suite whose generator is conditioned on feedback, or best-of-n",
            )
        return self._batch(requests, settings)

    def compile(self) -> None:
        """Compile the blocks of transformer and decoder.

        Raises:
            HarnessError: There is no compiler here.
        """
        from harness.models.compiling import compile_blocks

        compile_blocks(self.pipeline.transformer, self.pipeline.vae.decoder)

    def forget(self) -> None:
        """Drop what is remembered of prompts, so that they are encoded anew."""
        self._prompts.clear()

    def _batch(
        self,
        requests: Sequence[Request],
        settings: SanaSettings,
        *,
        condition: Callable[[Sequence[int]], Mapping[str, Any]] | None = None,
        context: int = 0,
    ) -> list[Made]:
        """Fill one batch with the requests, run it, and say what each cost.

        Args:
            requests: What was asked for.
            settings: Of all of them.
            condition: Makes the transformer's further inputs (`attention_kwargs`), given which
                request each row is.
            context: Feedback tokens a row attends to.
        """
        encoding = [self._encode(request.text, settings)[1] for request in requests]
        if settings.guidance_scale > 1:
            encoding[0] += self._encode(settings.negative_prompt, settings, negative=True)[1]
        size = requests[0].rows or self.batch_size
        places = [row % len(requests) for row in range(size)]
        rows = [requests[place] for place in places]
        part = Part.of(rows, self.pipeline.scheduler, settings.num_inference_steps)
        latents = self.noise(rows, settings)
        if part is not None:
            self.pipeline.scheduler.set_timesteps(settings.num_inference_steps)
            latents = part.latents(latents)
        further = condition(places) if condition is not None else None
        texts = [row.text for row in rows]
        pixels = self.sample(latents, texts, settings, further, part)[: len(requests)]
        states = part.states(len(requests)) if part is not None else [None] * len(requests)
        images = (pixels.cpu().permute(0, 2, 3, 1).float().numpy() * 255).round().astype(np.uint8)
        nfe, flops = self._cost(settings, context)
        return [
            Made(
                np.ascontiguousarray(image),
                Cost(nfe=nfe, flops=flops + extra, rows=size / len(requests)),
                state,
            )
            for image, extra, state in zip(images, encoding, states, strict=True)
        ]

    def noise(self, requests: Sequence[Request], settings: SanaSettings) -> torch.Tensor:
        """Return initial latents, a row a request: `(len(requests), channels, height, width)`."""
        import torch

        scale = self.pipeline.vae_scale_factor
        channels = self.pipeline.transformer.config.in_channels
        shape = (channels, settings.height // scale, settings.width // scale)
        return torch.stack([noise_tensor(request.noise, shape) for request in requests])

    def sample(
        self,
        latents: torch.Tensor,
        texts: Sequence[str],
        settings: SanaSettings,
        attention_kwargs: Mapping[str, Any] | None = None,
        part: Part | None = None,
    ) -> torch.Tensor:
        """Denoise given latents and decode them, at whatever batch shape they have.

        Args:
            latents: Initial noise, or what `part` begins with, (rows, channels, height, width).
            texts: One prompt a row.
            settings: Sampler settings.
            attention_kwargs: What the stock pipeline hands through to the transformer.
            part: Which steps to make; all of them by default.

        Returns:
            Images (rows, 3, height, width) between 0 and 1.

        Raises:
            BadAnswer: A row came out with NaN or infinite values.
        """
        import torch

        pipeline = self.pipeline
        prompts = [self._encode(text, settings)[0] for text in texts]
        conditions: dict[str, Any] = {
            "negative_prompt": None,
            "prompt_embeds": torch.cat([prompt.embeds for prompt in prompts]),
            "prompt_attention_mask": torch.cat([prompt.mask for prompt in prompts]),
        }
        if settings.guidance_scale > 1:
            negative = self._encode(settings.negative_prompt, settings, negative=True)[0]
            conditions["negative_prompt_embeds"] = negative.embeds.repeat(len(texts), 1, 1)
            conditions["negative_prompt_attention_mask"] = negative.mask.repeat(len(texts), 1)
        steps = part.running() if part is not None else nullcontext()
        with torch.no_grad(), steps:
            denoised = pipeline(
                **conditions,
                latents=latents,
                num_inference_steps=settings.num_inference_steps,
                guidance_scale=settings.guidance_scale,
                height=settings.height,
                width=settings.width,
                attention_kwargs=attention_kwargs,
                use_resolution_binning=False,
                output_type="latent",
                return_dict=False,
            )[0]
            # The stock call decodes too, but it turns running out of memory there into a
            # warning and an UnboundLocalError, and clamps infinities out of sight.
            if part is not None:
                denoised = part.end(denoised)
            scaled = denoised.to(pipeline.vae.dtype) / pipeline.vae.config.scaling_factor
            decoded = pipeline.vae.decode(scaled, return_dict=False)[0]
        finite = decoded.isfinite().flatten(1).all(dim=1)
        if not bool(finite.all()):
            bad = int((~finite).sum())
            raise BadAnswer(
                Failure.NAN_IMAGE,
                f"the generator's output has NaN or infinite values in {bad} of {len(texts)} rows",
                f"its weights may not bear {pipeline.transformer.dtype}: try another dtype",
            )
        pixels: torch.Tensor = pipeline.image_processor.postprocess(decoded, output_type="pt")
        return pixels

    def _check(self, requests: Sequence[Request]) -> SanaSettings:
        size = requests[0].rows or self.batch_size
        if len(requests) > size:
            raise HarnessError(f"{len(requests)} requests for a batch size of {size}")
        if any(request.rows != requests[0].rows for request in requests):
            raise HarnessError("the requests of one batch differ in its number of rows")
        first = dict(requests[0].settings)
        if any(dict(request.settings) != first for request in requests):
            raise HarnessError("the requests of one batch differ in their sampler settings")
        built: SanaSettings = options.build(self.Settings, {**self.defaults, **first}, flag="-G")
        step = math.lcm(
            32, self.pipeline.vae_scale_factor * self.pipeline.transformer.config.patch_size
        )
        for side in (built.height, built.width):
            if side % step:
                raise UsageError(f"an image side of {side} is no multiple of {step}")
        return built

    def _encode(
        self, text: str, settings: SanaSettings, *, negative: bool = False
    ) -> tuple[_Encoded, float]:
        """Encode one prompt, or remember it; with the FLOPs that it took just now.

        Always one prompt a call, so that its bits do not depend on what else is encoded.
        """
        instructed = settings.complex_human_instruction and not negative
        key = (text, settings.max_sequence_length, instructed)
        return remembered(self._prompts, key, partial(self._encode_now, *key))

    def _encode_now(self, text: str, length: int, instructed: bool) -> tuple[_Encoded, float]:
        import torch

        before = instruction() if instructed else None
        with torch.no_grad():
            embeds, mask, _, _ = self.pipeline.encode_prompt(
                text,
                do_classifier_free_guidance=False,
                max_sequence_length=length,
                complex_human_instruction=before,
            )
        tokens = length
        if before:
            tokens += instruction_tokens(self.pipeline.tokenizer)
        return _Encoded(embeds, mask), self._counted(sana_flops.encoding, tokens=tokens)

    def _cost(self, settings: SanaSettings, context: int = 0) -> tuple[int, float]:
        rows = 2 if settings.guidance_scale > 1 else 1
        calls = self.pipeline.num_timesteps
        size = {"height": settings.height, "width": settings.width}
        call = self._counted(
            sana_flops.denoising,
            rows=rows,
            tokens=settings.max_sequence_length,
            context=context,
            **size,
        )
        return calls * rows, calls * call + self._counted(sana_flops.decoding, **size)

    def _counted(self, what: Any, **shape: int) -> float:
        key = (what.__name__, *sorted(shape.items()))
        if key not in self._flops:
            self._flops[key] = what(self.pipeline, **shape)
        return self._flops[key]


def remembered(
    cache: LRUCache[Hashable, V], key: Hashable, make: Callable[[], tuple[V, float]]
) -> tuple[V, float]:
    """The value of a key and what it cost just now: nothing, if the cache has it.

    Args:
        cache: Values by key.
        key: All that determines the value.
        make: Makes the value; returns it with its cost.
    """
    if (value := cache.get(key)) is not None:
        return value, 0.0
    value, cost = make()
    cache[key] = value
    return value, cost
