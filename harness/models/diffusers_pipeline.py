"""Any text-to-image pipeline of diffusers as a generator: its own classes do the sampling.

What is ours around them: each row has noise of its own, so that its pixels depend on it alone;
each prompt is encoded once, by itself; a batch has one shape, short ones padded; what runs is
counted. All of it is done from outside, by the few methods that diffusers' pipelines share
(`encode_prompt`, `prepare_latents`), so a pipeline that diffusers adds needs no code here.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from cachetools import LRUCache

from harness import options
from harness.errors import BadAnswer, Failure, HarnessError, first_line
from harness.models.checkpoints import resolve
from harness.models.devices import prepare
from harness.models.diffusers_loading import load_any_pipeline, no_pipeline, settings_class
from harness.models.dtypes import resolve_dtype
from harness.records import Ability, Cost, Loading, Made, Request, Setting

if TYPE_CHECKING:
    import torch

Rows = Literal["any", "equal lengths", "alone"]

ROWS: dict[str, Rows] = {
    "StableDiffusionPipeline": "any",
    "StableDiffusionXLPipeline": "any",
    "StableDiffusion3Pipeline": "any",
    "FluxPipeline": "any",
    "PixArtSigmaPipeline": "alone",
    "SanaPipeline": "any",
    "SanaSprintPipeline": "any",
    "CogView4Pipeline": "any",
    "HunyuanDiTPipeline": "equal lengths",
    "Lumina2Pipeline": "equal lengths",
    "QwenImagePipeline": "equal lengths",
}
"""Which rows may share a batch without a bit of one depending on another, by pipeline: any, those
whose prompts have equally many tokens, or none. Tried by the tests on small random checkpoints; of
a pipeline that is not listed nothing is known, and its rows run alone."""

_TITLE = "generator diffusers"
_NETWORKS = ("text_encoder", "text_encoder_2", "text_encoder_3", "vae")


class _Uneven(Exception):
    """Rows whose encoded prompts do not fit into one batch.

    Attributes:
        kinds: What rows must have in common, a row.
    """

    def __init__(self, kinds: Sequence[Hashable]) -> None:
        super().__init__("rows of several shapes")
        self.kinds = list(kinds)


@dataclass(frozen=True)
class PipelineSettings:
    """No settings: those of a pipeline are the arguments of its call (`settings_for`)."""


class DiffusersGenerator:
    """A pipeline on one device. It holds state: the weights and a cache of encoded prompts."""

    Settings: ClassVar[type] = PipelineSettings

    abilities: ClassVar[frozenset[Ability]] = frozenset()
    takes_rows: ClassVar[bool] = True

    def __init__(
        self,
        pipeline: Any,
        settings_type: type,
        *,
        batch_size: int,
        settings: dict[str, Setting] | None = None,
        remembered_prompts: int = 128,
    ) -> None:
        from harness.models.metering import Meter

        self.pipeline = pipeline
        self.settings_type = settings_type
        self.batch_size = batch_size
        self.sharing = ROWS.get(type(pipeline).__name__, "alone")
        self.defaults = dict(settings or {})
        self._prompts: LRUCache[Hashable, Any] = LRUCache(max(remembered_prompts, batch_size + 1))
        denoiser = getattr(pipeline, "transformer", None) or pipeline.unet
        others = {name: getattr(pipeline, name, None) for name in _NETWORKS}
        self._meter = Meter(denoiser, {n: network for n, network in others.items() if network})
        self._rows: Sequence[Request] = ()
        self._generators: list[torch.Generator] = []
        self._encoding: dict[str, float | None] = {}
        self._encode = pipeline.encode_prompt
        self._prepare = pipeline.prepare_latents
        pipeline.encode_prompt = self._encode_rows
        pipeline.prepare_latents = self._prepare_rows
        self._check_values()

    @classmethod
    def settings_for(cls, references: Mapping[str, str]) -> type:
        """Return the settings of a suite's pipeline (see `harness.models.base.GeneratorFactory`).

        Raises:
            UsageError: No pipeline is named.
            HarnessError: It is missing, or no text-to-image pipeline of diffusers.
        """
        if "pipeline" not in references:
            raise no_pipeline()
        return settings_class(resolve(references["pipeline"]))

    @classmethod
    def load(cls, loading: Loading) -> DiffusersGenerator:
        """Load it (see `harness.models.base.GeneratorFactory`).

        Args:
            loading: The checkpoint `pipeline` is a folder as `DiffusionPipeline.save_pretrained`
                writes it; the settings are arguments of its call.

        Raises:
            UsageError: A setting the pipeline does not have, or a device that is not there.
            HarnessError: The checkpoint is missing, damaged or no text-to-image pipeline's.
        """
        if "pipeline" not in loading.checkpoints:
            raise no_pipeline()
        folder = loading.checkpoints["pipeline"]
        kind = settings_class(folder)
        options.build(kind, loading.settings, flag="-G", title=_TITLE)
        pipeline = load_any_pipeline(
            folder,
            device=prepare(loading.device),
            dtype=resolve_dtype(loading.dtype, loading.device),
        )
        return cls(pipeline, kind, batch_size=loading.batch_size, settings=dict(loading.settings))

    def generate(self, requests: Sequence[Request]) -> list[Made]:
        """Make one image a request (see `harness.models.base.Generator`).

        FLOPs are those of the row itself, not of the padding beside it. Encoding a prompt is
        charged to the draw that caused it; a draw that finds it in the cache pays nothing.

        Raises:
            HarnessError: A request brings feedback, requests differ in settings or are too many,
                the pipeline refuses the settings, or its output is not finite.
        """
        if not requests:
            return []
        settings = self._check(requests)
        size = 1 if self.sharing == "alone" else requests[0].rows or self.batch_size
        groups = [[r] for r in requests] if size == 1 else [list(requests)]
        made: dict[int, Made] = {}
        self._encoding = {}
        while groups:
            group = groups.pop()
            try:
                answers = self._batch(group, settings, size)
            except _Uneven as uneven:
                kinds: dict[Hashable, list[Request]] = {}
                for request, kind in zip(group, uneven.kinds, strict=False):
                    kinds.setdefault(kind, []).append(request)
                groups += kinds.values()
                continue
            made.update(
                {id(request): answer for request, answer in zip(group, answers, strict=True)}
            )
        return [made[id(request)] for request in requests]

    def forget(self) -> None:
        """Drop what is remembered of prompts, so that they are encoded anew."""
        self._prompts.clear()

    def _batch(
        self, requests: Sequence[Request], settings: dict[str, Any], size: int
    ) -> list[Made]:
        import torch

        self._rows = [requests[row % len(requests)] for row in range(size)]
        self._generators = [torch.Generator().manual_seed(row.seed) for row in self._rows]
        self._meter.take()
        try:
            with torch.no_grad():
                pixels = self.pipeline(
                    prompt=[row.text for row in self._rows],
                    generator=self._generators,
                    output_type="pt",
                    return_dict=False,
                    **settings,
                )[0]
        except (ValueError, TypeError) as error:
            raise HarnessError(
                f"{type(self.pipeline).__name__} refuses these settings: {first_line(error)}",
                f"its settings: {options.describe(self.settings_type)}",
            ) from error
        pixels = pixels[: len(requests)].float().clamp(0, 1).cpu()
        images = (pixels.permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8)
        rows, flops = self._meter.take()
        encoding = [self._encoding.pop(request.text, 0.0) for request in requests]
        return [
            Made(
                np.ascontiguousarray(image),
                Cost(
                    nfe=rows // size,
                    flops=None if flops is None or extra is None else flops / size + extra,
                    rows=size / len(requests),
                ),
            )
            for image, extra in zip(images, encoding, strict=True)
        ]

    def _check(self, requests: Sequence[Request]) -> dict[str, Any]:
        size = requests[0].rows or self.batch_size
        if len(requests) > size:
            raise HarnessError(f"{len(requests)} requests for a batch size of {size}")
        if any(request.rows != requests[0].rows for request in requests):
            raise HarnessError("the requests of one batch differ in its number of rows")
        first = dict(requests[0].settings)
        if any(dict(request.settings) != first for request in requests):
            raise HarnessError("the requests of one batch differ in their sampler settings")
        if any(request.feedback for request in requests):
            raise HarnessError(
                f"a {type(self.pipeline).__name__} takes no feedback",
                "choose a suite whose generator is conditioned on feedback, or best-of-n",
            )
        if any(request.stop is not None or request.start is not None for request in requests):
            raise HarnessError(f"a {type(self.pipeline).__name__} cannot stop between its steps")
        chosen = {**self.defaults, **first}
        return dict(
            vars(options.build(self.settings_type, chosen, flag="-G", title="generator diffusers"))
        )

    def _check_values(self) -> None:
        """Have the decoder's output looked at: the pipelines clamp infinities out of sight."""
        import torch

        def look(_module: Any, _args: Any, output: Any) -> None:
            decoded = output if isinstance(output, torch.Tensor) else output[0]
            finite = decoded.isfinite().flatten(1).all(dim=1)
            if not bool(finite.all()):
                raise BadAnswer(
                    Failure.NAN_IMAGE,
                    "the generator's output has NaN or infinite values in "
                    f"{int((~finite).sum())} of {len(finite)} rows",
                    f"its weights may not bear {decoded.dtype}: try another dtype",
                )

        self.pipeline.vae.decoder.register_forward_hook(look)

    def _prepare_rows(self, *args: Any, **kwargs: Any) -> Any:
        """Make the initial latents as the pipeline does, from each row's own noise in float32."""
        import torch

        bound = inspect.signature(self._prepare).bind(*args, **kwargs)
        dtype = bound.arguments.get("dtype")
        if dtype is not None:
            bound.arguments["dtype"] = torch.float32

        def draw(generators: list[torch.Generator]) -> Any:
            bound.arguments["generator"] = generators
            return self._prepare(*bound.args, **bound.kwargs)

        made = draw(self._generators)
        latents = made[0] if isinstance(made, tuple) else made
        for turn in range(1, max(len(row.noise) for row in self._rows)):
            pairs = [row.noise[turn] if len(row.noise) > turn else (0, 1.0) for row in self._rows]
            further = draw([torch.Generator().manual_seed(seed) for seed, _ in pairs])
            other = further[0] if isinstance(further, tuple) else further
            shape = (-1, *[1] * (latents.dim() - 1))
            cosines = latents.new_tensor([cosine for _, cosine in pairs]).view(shape)
            sines = latents.new_tensor([math.sqrt(1 - c * c) for _, c in pairs]).view(shape)
            latents = cosines * latents + sines * other
        if dtype is not None:
            latents = latents.to(dtype)
        return (latents, *made[1:]) if isinstance(made, tuple) else latents

    def _encode_rows(self, *args: Any, **kwargs: Any) -> Any:
        """Encode each row's texts by themselves, or remember them; then put the rows together.

        Raises:
            _Uneven: The rows' encodings do not fit into one batch.
        """
        bound = inspect.signature(self._encode).bind(*args, **kwargs)
        number = len(self._rows)
        rows = []
        for row in range(number):
            own = {
                name: [value[row]] if isinstance(value, list) and len(value) == number else value
                for name, value in bound.arguments.items()
            }
            rows.append(self._encode_one(self._rows[row].text, own))
        kinds = [_kind(row, lengths=self.sharing == "equal lengths") for row in rows]
        if len(set(kinds)) > 1:
            raise _Uneven(kinds)
        if not isinstance(rows[0], tuple):
            return _joined(rows)
        return tuple(_joined(list(parts)) for parts in zip(*rows, strict=True))

    def _encode_one(self, text: str, arguments: dict[str, Any]) -> Any:
        nested = arguments.pop("kwargs", {})
        key = repr(sorted({**arguments, **nested}.items(), key=lambda item: item[0]))
        if (known := self._prompts.get(key)) is not None:
            return known
        before = self._meter.take()
        encoded = self._encode(**arguments, **nested)
        _, flops = self._meter.take()
        earlier = self._encoding.get(text, 0.0)
        self._encoding[text] = None if flops is None or earlier is None else earlier + flops
        self._meter.rows, self._meter.flops = before
        self._prompts[key] = encoded
        return encoded


def _parts(encoded: Any) -> tuple[Any, ...]:
    return encoded if isinstance(encoded, tuple) else (encoded,)


def _kind(encoded: Any, *, lengths: bool) -> Hashable:
    """Return what of a row's encoding others in its batch must have in common with it."""
    import torch

    kinds: list[Hashable] = []
    for part in _parts(encoded):
        for tensor in part if isinstance(part, list) else [part]:
            if isinstance(tensor, torch.Tensor):
                whole = lengths and not tensor.is_floating_point()
                kinds.append((tuple(tensor.shape), int(tensor.sum()) if whole else 0))
            else:
                kinds.append(repr(tensor))
    return tuple(kinds)


def _joined(rows: list[Any]) -> Any:
    """Return one output of `encode_prompt` for all rows; what has no rows is the first one's."""
    import torch

    first = rows[0]
    if isinstance(first, list):
        return [item for row in rows for item in row]
    if isinstance(first, torch.Tensor) and first.dim() > 1 and len(first) == 1:
        return torch.cat(rows)
    return first
