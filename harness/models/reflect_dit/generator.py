"""Reflect-DiT as a generator: SANA's, whose requests may carry feedback.

The stock pipeline does the sampling here, too: feedback goes in through `attention_kwargs`, the
one argument it hands to the transformer untouched. Requests without feedback take plain SANA's
road, with plain SANA's bits; where the checkpoint `plain` is given, with that of the base model,
so that training on feedback changes nothing of a draw that has none. Images and sentences are
encoded once, on the draw that first brings them.

Source: Li et al., "Reflect-DiT", arXiv 2503.12271.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from cachetools import LRUCache

from harness import options
from harness.errors import HarnessError, UsageError
from harness.models.checkpoints import require
from harness.models.devices import prepare
from harness.models.sana import SanaGenerator, SanaSettings, Tokens
from harness.records import Ability, Image, Loading, Made, Request, Setting, add_known

if TYPE_CHECKING:
    import torch
    from diffusers import SanaPipeline

    from harness.models.reflect_dit.vision import VisionEncoder

SHORT_SENTENCE = 32
"""Text tokens a feedback may have on average to run at the shorter context length.

Padding costs: at 1024 pixels three feedbacks make a step 8% dearer at this length and 31% at 300
tokens a sentence, and sentences such as a detector's have some fifteen.
"""


@dataclass(frozen=True)
class ReflectDiTSettings(SanaSettings):
    """SANA's sampler settings, and those of feedback.

    Attributes:
        image_tokens: Tokens a feedback image is pooled to; a square number.
        max_feedback_length: Tokens a sentence is cut to.
    """

    image_tokens: Tokens = 64
    max_feedback_length: Tokens = 300


class _Read(NamedTuple):
    """A request's feedback, encoded."""

    tokens: torch.Tensor  # (its own length, channels)
    span: int  # length of the guidance pair
    positions: int  # length it runs at
    flops: float | None  # what encoding it cost just now


class ReflectDiTGenerator(SanaGenerator):
    """A Reflect-DiT pipeline on one device. Has state: weights, caches of what was encoded."""

    Settings: ClassVar[type] = ReflectDiTSettings
    abilities: frozenset[Ability] = frozenset({Ability.FEEDBACK, Ability.PARTIAL})
    takes_adapters: ClassVar[bool] = False

    def __init__(
        self,
        pipeline: SanaPipeline,
        vision: VisionEncoder,
        *,
        batch_size: int,
        settings: Mapping[str, Setting] | None = None,
        plain: SanaPipeline | None = None,
    ) -> None:
        super().__init__(pipeline, batch_size=batch_size, settings=settings)
        self.vision = vision
        self._meter.watch(vision.model)
        for method in ("embed_image", "embed_sentence"):
            if hasattr(pipeline.transformer, method):
                self._meter.watch(pipeline.transformer, method)
        self.plain: ReflectDiTGenerator | None = None
        if plain is not None:
            self.plain = type(self)(plain, vision, batch_size=batch_size, settings=settings)
            # The text encoder is one: a prompt that either has encoded is encoded.
            self.plain._prompts = self._prompts
        self._images: LRUCache[Hashable, torch.Tensor] = LRUCache(512)
        self._sentences: LRUCache[Hashable, torch.Tensor] = LRUCache(512)

    @classmethod
    def load(cls, loading: Loading) -> ReflectDiTGenerator:
        """Load it (see `harness.models.base.GeneratorFactory`).

        Args:
            loading: The checkpoint `pipeline` is a folder as `SanaPipeline.save_pretrained`
                writes it; `transformer` Reflect-DiT's, if it is not the pipeline's own; `plain`, if
                there is one, a folder whose `transformer/` draws what has no feedback;
                `components`, if there is one, a folder whose text encoder takes the place of the
                pipeline's; `vision_encoder` a SigLIP with its image processor. The settings are
                `ReflectDiTSettings`.
        """
        options.build(cls.Settings, loading.settings, flag="-G")
        checkpoints = loading.checkpoints
        for part in ("pipeline", "vision_encoder"):
            if part not in checkpoints:
                raise UsageError(f"the reflect-dit generator needs a checkpoint named '{part}'")

        from harness.models.loading import load_strictly
        from harness.models.reflect_dit.transformer import SanaTransformer2DModelWithContext
        from harness.models.reflect_dit.vision import VisionEncoder
        from harness.models.sana_loading import component, load_pipeline, load_plain

        place, dtype = prepare(loading.device), loading.dtype
        components = checkpoints.get("components")
        own = component(checkpoints["pipeline"], components, "transformer")
        folder = checkpoints.get("transformer", own)
        require(folder, ["config.json", "diffusion_pytorch_model.safetensors"])
        transformer = load_strictly(SanaTransformer2DModelWithContext, folder, dtype=dtype)
        pipeline = load_pipeline(
            checkpoints["pipeline"],
            device=place,
            dtype=dtype,
            transformer=transformer,
            components=components,
        )
        vision = VisionEncoder.load(checkpoints["vision_encoder"], device=place, dtype=dtype)
        if vision.channels != transformer.config.vision_feature_dim:
            raise HarnessError(
                f"the transformer reads vision features of {transformer.config.vision_feature_dim}"
                f" channels, and {checkpoints['vision_encoder']} gives {vision.channels}",
                "use the vision encoder it was trained with",
            )
        plain = None
        if base := checkpoints.get("plain"):
            parts = {**pipeline.components, "transformer": load_plain(base, dtype).to(place)}
            plain = type(pipeline)(**parts)
            plain.set_progress_bar_config(disable=True)
        return cls(
            pipeline,
            vision,
            batch_size=loading.batch_size,
            settings=loading.settings,
            plain=plain,
        )

    def compile(self) -> None:
        """Compile the blocks of both transformers and the decoder."""
        super().compile()
        if self.plain is not None:
            from harness.models.compiling import compile_blocks

            compile_blocks(self.plain.pipeline.transformer)

    def generate(self, requests: Sequence[Request]) -> list[Made]:
        """Make one image a request (see `harness.models.base.Generator`).

        A row's context length is a function of its own feedback: so many image tokens and
        `SHORT_SENTENCE` text tokens a feedback if it fits, else `max_feedback_length` text
        tokens. Requests of either length run as a batch of their own. Looking at an image and
        reading a sentence are charged to the draw that first brings them.
        """
        numbers = {len(request.feedback) for request in requests}
        if numbers <= {0}:
            return (
                super().generate(requests) if self.plain is None else self.plain.generate(requests)
            )
        settings: ReflectDiTSettings = self._check(requests)
        if len(numbers) > 1:
            raise HarnessError("the requests of one batch differ in their number of feedbacks")
        read = [self._read(request, settings) for request in requests]
        answers: dict[int, Made] = {}
        for positions in sorted({row.positions for row in read}):
            chosen = [i for i, row in enumerate(read) if row.positions == positions]
            made = self._batch(
                [requests[i] for i in chosen],
                settings,
                requests[0].rows or self.batch_size,
                partial(self._condition, [read[i] for i in chosen], settings),
            )
            for i, answer in zip(chosen, made, strict=True):
                flops = add_known(answer.cost.flops, read[i].flops)
                answers[i] = replace(answer, cost=replace(answer.cost, flops=flops))
        return [answers[i] for i in range(len(requests))]

    def forget(self) -> None:
        """Drop what is remembered of prompts, images and sentences."""
        super().forget()
        self._images.clear()
        self._sentences.clear()

    @classmethod
    def _texts(cls, request: Request, settings: Any) -> list[tuple[str, list[str], int, bool]]:
        sentences = [item.sentence for item in request.feedback]
        feedback = ("feedback", sentences, settings.max_feedback_length, False)
        return [*super()._texts(request, settings), feedback]

    def _condition(
        self, read: Sequence[_Read], settings: ReflectDiTSettings, places: Sequence[int]
    ) -> dict[str, Any]:
        from harness.models.reflect_dit.context import lay_out

        rows, spans = [read[place].tokens for place in places], [read[p].span for p in places]
        if settings.guidance_scale > 1:
            # The stock pipeline puts the rows without prompt first; they have no feedback either.
            rows, spans = [row[:0] for row in rows] + rows, spans * 2
        length = max(row.positions for row in read)
        context = lay_out(rows, spans, settings.image_tokens, length)
        return {"attention_kwargs": {"context": context}}

    def _read(self, request: Request, settings: ReflectDiTSettings) -> _Read:
        import torch

        from harness.models.reflect_dit.context import DROPPED_TEXT_TOKENS, pair_length

        pieces: list[torch.Tensor] = []
        lengths: list[int] = []
        flops: float | None = 0.0
        for item in request.feedback:
            picture, tokens = request.images[item.draw_id], settings.image_tokens
            longest = settings.max_feedback_length
            image, looking = self._once(
                self._images, (item.draw_id, tokens), partial(self._look, picture, tokens)
            )
            sentence, reading = self._once(
                self._sentences,
                (item.sentence, longest),
                partial(self._listen, item.sentence, longest),
            )
            pieces += [image, sentence]
            lengths.append(len(sentence))
            flops = add_known(flops, add_known(looking, reading))
        span = pair_length(lengths, settings.image_tokens, guided=settings.guidance_scale > 1)
        number, longest = len(lengths), settings.max_feedback_length
        positions = number * (settings.image_tokens + min(SHORT_SENTENCE, longest))
        if span > positions:
            positions = number * (settings.image_tokens + max(longest, DROPPED_TEXT_TOKENS))
        return _Read(torch.cat(pieces), span, positions, flops)

    def _look(self, image: Image, tokens: int) -> torch.Tensor:
        import torch

        with torch.no_grad():
            features = self.vision.encode(image, tokens)
            embedded: torch.Tensor = self.pipeline.transformer.embed_image(features)
        return embedded

    def _listen(self, sentence: str, length: int) -> torch.Tensor:
        import torch

        with torch.no_grad():
            embeds, mask = self._encode_now(sentence, length)
            real = embeds[0, : int(mask[0].sum())]
            embedded: torch.Tensor = self.pipeline.transformer.embed_sentence(real)
        return embedded
