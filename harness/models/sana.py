"""SANA as a generator: diffusers' own pipeline, run so that a row's pixels depend on it alone.

Xie et al., "SANA: Efficient High-Resolution Image Synthesis with Linear Diffusion Transformers",
arXiv 2410.10629. What is SANA's own: the settings, its instruction before each prompt, and that all
prompts share one encoding of the negative one (`harness.models.pipeline_generator` does the rest).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field, FiniteFloat

from harness import options
from harness.errors import UsageError
from harness.models.adapters import merge_adapters
from harness.models.devices import prepare
from harness.models.diffusers_loading import Steps, weightless_pipeline
from harness.models.pipeline_generator import PipelineGenerator
from harness.models.sana_loading import REPLACED, component, load_pipeline, load_tokenizer
from harness.records import Loading, Request
from harness.truncation import Truncation

MultipleOf32 = Annotated[int, Field(gt=0, le=8192, multiple_of=32)]
"""A side of an image in pixels; the stock pipeline takes multiples of 32."""

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


class SanaGenerator(PipelineGenerator):
    """A SANA pipeline on one device."""

    Settings: ClassVar[type] = SanaSettings
    can_compile: ClassVar[bool] = True
    pads_texts: ClassVar[bool] = True

    @classmethod
    def load(cls, loading: Loading) -> SanaGenerator:
        """Load it (see `harness.models.base.GeneratorFactory`).

        Args:
            loading: The checkpoint `pipeline` is a folder as `SanaPipeline.save_pretrained`
                writes it; `components`, if there is one, a folder whose text encoder and
                transformer take the place of the pipeline's; and adapters
                (`harness.models.adapter_names`). The settings are `SanaSettings`.
        """
        options.build(SanaSettings, loading.settings, flag="-G")
        if "pipeline" not in loading.checkpoints:
            raise UsageError("the sana generator needs a checkpoint named 'pipeline'")
        pipeline = load_pipeline(
            loading.checkpoints["pipeline"],
            device=prepare(loading.device),
            dtype=loading.dtype,
            components=loading.checkpoints.get("components"),
        )
        merge_adapters(pipeline, loading.checkpoints)
        return cls(pipeline, batch_size=loading.batch_size, settings=loading.settings)

    @classmethod
    def _weightless(cls, loading: Loading) -> SanaGenerator:
        parts = loading.checkpoints
        folder, components = parts["pipeline"], parts.get("components")
        places = {n: parts.get(n, component(folder, components, n)) for n in REPLACED}
        # A Reflect-DiT's further parts are at work only where there is feedback.
        plain = {"transformer": ["diffusers", "SanaTransformer2DModel"]}
        pipeline = weightless_pipeline(folder, places=places, classes=plain)
        return SanaGenerator(
            pipeline, batch_size=1, settings=loading.settings, settings_type=cls.Settings
        )

    @classmethod
    def truncation(cls, checkpoints: Mapping[str, Path]) -> Truncation | None:
        """Load the tokenizer alone (see `harness.models.base.GeneratorFactory`).

        Counted as diffusers' `SanaPipeline` does, which drops what is too long with no more than a
        line in its log.
        """
        if "pipeline" not in checkpoints:
            return None
        tokenizer = load_tokenizer(checkpoints["pipeline"])

        @lru_cache(maxsize=4096)
        def exceeds(text: str, length: int, instructed: bool) -> bool:
            text = text.lower().strip()
            if instructed:
                before = "\n".join(instruction())
                text = before + text
                length += len(tokenizer.encode(before)) - 2
            # One more is enough to know, however long the text is.
            return len(tokenizer.encode(text, truncation=True, max_length=length + 1)) > length

        def truncated(request: Request) -> list[str]:
            settings: Any = options.build(cls.Settings, request.settings, flag="-G")
            return [
                name
                for name, texts, length, instructed in cls._texts(request, settings)
                if any(exceeds(text, length, instructed) for text in texts)
            ]

        return truncated

    @classmethod
    def _texts(cls, request: Request, settings: Any) -> list[tuple[str, list[str], int, bool]]:
        """List what of a request the text encoder reads, by `harness.truncation.TEXTS`.

        Texts of a name are encoded alike: so many tokens of each, behind the instruction or not.
        """
        length = settings.max_sequence_length
        texts = [("text", [request.text], length, settings.complex_human_instruction)]
        if settings.guidance_scale > 1:
            texts.append(("negative_prompt", [settings.negative_prompt], length, False))
        return texts

    def compile(self) -> None:
        """Compile the blocks of transformer and decoder."""
        from harness.models.compiling import compile_blocks

        compile_blocks(self.pipeline.transformer, self.pipeline.vae.decoder)

    def _check(self, requests: Sequence[Request]) -> Any:
        settings = super()._check(requests)
        step = math.lcm(
            32, self.pipeline.vae_scale_factor * self.pipeline.transformer.config.patch_size
        )
        for side in (settings.height, settings.width):
            if side % step:
                raise UsageError(f"an image side of {side} is no multiple of {step}")
        return settings

    def _arguments(self, settings: Any) -> dict[str, Any]:
        own = {f.name: getattr(settings, f.name) for f in fields(SanaSettings)}
        instructed = own["complex_human_instruction"]
        return {
            **own,
            "complex_human_instruction": instruction() if instructed else None,
            "clean_caption": False,
            "use_resolution_binning": False,
        }

    def _encode_row(self, text: str, arguments: dict[str, Any]) -> Any:
        """Encode a prompt and the negative one by themselves: all prompts share the latter."""
        length, before = arguments["max_sequence_length"], arguments["complex_human_instruction"]
        encoded = self._encode_text(text, text, length, before)
        if not arguments["do_classifier_free_guidance"]:
            return *encoded, None, None
        return *encoded, *self._encode_text(text, arguments["negative_prompt"], length, None)

    def _encode_text(self, bearer: str, text: str, length: int, before: list[str] | None) -> Any:
        key = (text, length, bool(before))
        return self._remembered(bearer, key, lambda: self._encode_now(text, length, before))

    def _encode_now(self, text: str, length: int, before: list[str] | None = None) -> Any:
        """Return a text's embeddings, (1, tokens, channels), and their mask, (1, tokens)."""
        return self._encode(
            text,
            do_classifier_free_guidance=False,
            max_sequence_length=length,
            complex_human_instruction=before,
        )[:2]


def instruction() -> list[str]:
    """Return SANA's instruction, from the pipeline that owns it."""
    from diffusers import SanaPipeline

    default = inspect.signature(SanaPipeline.__call__).parameters["complex_human_instruction"]
    return list(default.default)
