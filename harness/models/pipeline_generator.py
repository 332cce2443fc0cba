"""A text-to-image pipeline of diffusers as a generator: its own classes do the sampling.

What is ours around them: each row has noise of its own, so that its pixels depend on it alone;
each prompt is encoded once, by itself; a batch has one shape, short ones padded; what runs is
counted; a draw may stop between two steps. All of it is done from outside, by the few methods that
diffusers' pipelines share (`encode_prompt`, `prepare_latents`, `vae.decode`, the scheduler's
`step`), so a pipeline that diffusers adds needs no code here.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

import numpy as np
from cachetools import LRUCache

from harness import options
from harness.errors import BadAnswer, Failure, HarnessError, first_line
from harness.models.base import CostOf, ExpectedCost
from harness.models.encoded_rows import Uneven, joined, kind_of
from harness.models.trajectory import Trajectory
from harness.records import Ability, Cost, Loading, Made, Request, Setting, add_known, whole_steps

if TYPE_CHECKING:
    import torch

V = TypeVar("V")

Rows = Literal["any", "equal lengths", "alone"]
"""Which rows may share a batch: any, those whose prompts have equally many tokens, or none."""

_ANY = "a photo"
"""A text for all, where what a draw takes does not depend on it."""

_NEEDED, _NETWORK = ("encode_prompt", "prepare_latents", "vae"), "transformer or unet"
"""What of a pipeline is called here."""

PROMPTS = 128
"""Encoded prompts that are remembered."""

_ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")


class PipelineGenerator:
    """A pipeline on one device. It holds state: the weights and a cache of encoded prompts.

    Args:
        pipeline: A text-to-image pipeline of diffusers.
        batch_size: Rows of its batches.
        settings: Sampler settings that a request need not repeat.
        settings_type: Names, types and defaults of all; that of the class by default.
        sharing: Which rows may share a batch without a bit of one depending on another.
    """

    Settings: ClassVar[type]
    abilities: frozenset[Ability] = frozenset({Ability.PARTIAL})
    takes_rows: ClassVar[bool] = True
    takes_adapters: ClassVar[bool] = True
    pads_texts: ClassVar[bool] = False
    """True if what a draw takes is the same whatever its prompt."""

    def __init__(
        self,
        pipeline: Any,
        *,
        batch_size: int,
        settings: Mapping[str, Setting] | None = None,
        settings_type: type | None = None,
        sharing: Rows = "any",
    ) -> None:
        from harness.models.metering import Meter

        network = getattr(pipeline, "transformer", None) or getattr(pipeline, "unet", None)
        parts = {name: getattr(pipeline, name, None) for name in _NEEDED}
        if missing := [name for name, part in {**parts, _NETWORK: network}.items() if part is None]:
            raise HarnessError(
                f"{type(pipeline).__name__} has no {' and no '.join(missing)}",
                "such a pipeline takes a plug-in of its own: docs/plugins.md",
            )
        self.pipeline = pipeline
        self.settings_type = settings_type or self.Settings
        self.batch_size = batch_size
        self.sharing = sharing
        self.defaults = dict(settings or {})
        # A batch finds all its prompts again, and the empty one of guidance.
        self._prompts: LRUCache[Hashable, Any] = LRUCache(max(PROMPTS, batch_size + 1))
        self._meter = Meter()
        self._meter.watch(network, denoises=True)
        self._meter.watch(pipeline.vae, "decode")
        for name in _ENCODERS:
            if getattr(pipeline, name, None) is not None:
                self._meter.watch(getattr(pipeline, name))
        self._rows: Sequence[Request] = ()
        self._encoding: dict[str, list[float | None]] = {}
        # As its class has them: while a batch runs, the pipeline itself has ours.
        self._encode = partial(type(pipeline).encode_prompt, pipeline)
        self._prepare = partial(type(pipeline).prepare_latents, pipeline)
        self._decode = pipeline.vae.decode

    def generate(self, requests: Sequence[Request]) -> list[Made]:
        """Make one image a request (see `harness.models.base.Generator`).

        FLOPs are those of the row itself, not of the padding beside it. Encoding a prompt is
        charged to the draw that caused it; a draw that finds it in the cache pays nothing.
        """
        if not requests:
            return []
        settings = self._check(requests)
        if any(request.feedback for request in requests):
            raise HarnessError(
                f"a plain {type(self.pipeline).__name__} takes no feedback; a strategy that gives "
                "feedback needs a generator that reads it",
                "choose a suite whose generator is conditioned on feedback, or best-of-n",
            )
        size = 1 if self.sharing == "alone" else requests[0].rows or self.batch_size
        groups = [[r] for r in requests] if size == 1 else [list(requests)]
        made: dict[int, Made] = {}
        while groups:
            group = groups.pop()
            try:
                answers = self._batch(group, settings, size)
            except Uneven as uneven:
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
        self,
        requests: Sequence[Request],
        settings: Any,
        size: int,
        condition: Callable[[Sequence[int]], Mapping[str, Any]] | None = None,
    ) -> list[Made]:
        """Fill one batch of `size` rows with the requests, run it, and say what each cost.

        Given which request each row is, `condition` makes further arguments of the pipeline.
        """
        places = [row % len(requests) for row in range(size)]
        rows = [requests[place] for place in places]
        further = condition(places) if condition is not None else {}
        pixels, trajectory = self._run(rows, settings, further)
        taken = self._meter.take()
        pixels = pixels[: len(requests)].float().clamp(0, 1).cpu()
        images = (pixels.permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8)
        states = trajectory.states(len(requests))
        made = []
        for request, image, state in zip(requests, images, states, strict=True):
            flops = None if taken.flops is None else taken.flops / size
            for encoding in self._encoding.pop(request.text, ()):
                flops = add_known(flops, encoding)
            cost = Cost(nfe=taken.rows // size, flops=flops, rows=size / len(requests))
            made.append(Made(np.ascontiguousarray(image), cost, state))
        return made

    def _run(
        self, rows: Sequence[Request], settings: Any, further: Mapping[str, Any]
    ) -> tuple[torch.Tensor, Trajectory]:
        """Run the pipeline; return images, (rows, 3, height, width), and how it came to them."""
        import torch

        self._rows = rows
        generators = [torch.Generator().manual_seed(row.seed) for row in rows]
        scheduler = self.pipeline.scheduler
        trajectory = Trajectory(rows, generators, scheduler, vars(settings))
        self._meter.take()
        try:
            with torch.no_grad(), self._attached(trajectory), trajectory.running():
                pixels = self.pipeline(
                    prompt=[row.text for row in rows],
                    generator=generators,
                    output_type="pt",
                    return_dict=False,
                    **self._arguments(settings),
                    **further,
                )[0]
        except (ValueError, TypeError) as error:
            raise HarnessError(
                f"{type(self.pipeline).__name__} refuses these settings: {first_line(error)}",
                f"its settings: {options.describe(self.settings_type)}",
            ) from error
        return pixels, trajectory

    @classmethod
    def expected_cost(cls, loading: Loading) -> CostOf | None:
        """Count what a request takes (see `harness.models.base.GeneratorFactory`).

        The pipeline's own code runs, without weights: what its networks would take is counted, and
        they answer with zeros. Feedback makes a draw dearer by what its sentences are long, which
        is not counted here.
        """
        if "pipeline" not in loading.checkpoints:
            return None
        generator = cls._weightless(loading)

        @lru_cache(maxsize=4096)
        def whole(text: str, settings: tuple[tuple[str, Setting], ...]) -> ExpectedCost | None:
            return generator._expected(Request("", text, ((0, 1.0),), dict(settings)))

        def cost_of(request: Request[Any]) -> ExpectedCost:
            settings = {**loading.settings, **request.settings}
            cost = whole(_ANY if cls.pads_texts else request.text, tuple(sorted(settings.items())))
            if cost is None or cost.nfe is None:
                raise HarnessError("its FLOPs cannot be counted without weights")
            share = Fraction(request.last - request.first, whole_steps(settings))
            nfe = int(cost.nfe * share)
            return replace(cost, nfe=nfe, complete=not request.feedback)

        return cost_of if whole(_ANY, tuple(sorted(loading.settings.items()))) else None

    @classmethod
    def _weightless(cls, loading: Loading) -> PipelineGenerator:
        """Return a generator whose networks are without weights."""
        raise NotImplementedError

    def _expected(self, request: Request) -> ExpectedCost | None:
        settings = self._check([request])
        self.forget()
        self._encoding.clear()
        self._run([request], settings, {})
        rows, denoising, decoding = self._meter.take()
        once = self._encoding.pop(request.text, [])
        if denoising is None or decoding is None:
            return None
        known = tuple(flops for flops in once if flops is not None)
        return ExpectedCost(rows, denoising / rows, decoding, known, len(known) == len(once))

    def _check(self, requests: Sequence[Request]) -> Any:
        """Return the settings of a batch."""
        size = requests[0].rows or self.batch_size
        if len(requests) > size:
            raise HarnessError(f"{len(requests)} requests for a batch size of {size}")
        if any(request.rows != requests[0].rows for request in requests):
            raise HarnessError("the requests of one batch differ in its number of rows")
        first = dict(requests[0].settings)
        if any(dict(request.settings) != first for request in requests):
            raise HarnessError("the requests of one batch differ in their sampler settings")
        return options.build(self.settings_type, {**self.defaults, **first}, flag="-G")

    def _arguments(self, settings: Any) -> dict[str, Any]:
        """Return the arguments of the pipeline's call that are settings."""
        return dict(vars(settings))

    @contextmanager
    def _attached(self, trajectory: Trajectory) -> Iterator[None]:
        """Have the pipeline encode, begin and decode as we do it."""
        pipeline, vae = self.pipeline, self.pipeline.vae
        pipeline.encode_prompt = self._encode_rows
        pipeline.prepare_latents = partial(self._prepare_rows, trajectory)
        vae.decode = self._decode_rows
        try:
            yield
        finally:
            del pipeline.encode_prompt, pipeline.prepare_latents
            vae.decode = self._decode

    def _decode_rows(self, *args: Any, **kwargs: Any) -> Any:
        """Decode, and look at the numbers: the pipelines clamp infinities out of sight."""
        import torch

        try:
            output = self._decode(*args, **kwargs)
        except torch.OutOfMemoryError as error:
            raise MemoryError(first_line(error)) from error
        finite = output[0].isfinite().flatten(1).all(dim=1)
        if not bool(finite.all()):
            raise BadAnswer(
                Failure.NAN_IMAGE,
                "the generator's output has NaN or infinite values in "
                f"{int((~finite).sum())} of {len(finite)} rows",
                f"its weights may not bear {output[0].dtype}: try another dtype",
            )
        return output

    def _prepare_rows(self, trajectory: Trajectory, *args: Any, **kwargs: Any) -> Any:
        """Make the initial latents as the pipeline does, from each row's own noise in float32."""
        import torch

        bound = inspect.signature(self._prepare).bind(*args, **kwargs)
        dtype = bound.arguments.get("dtype")
        if dtype is not None:
            bound.arguments["dtype"] = torch.float32

        def draw(generators: list[torch.Generator]) -> Any:
            bound.arguments["generator"] = generators
            return self._prepare(*bound.args, **bound.kwargs)

        made = draw(trajectory.generators)
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
        latents = trajectory.begin(latents)
        return (latents, *made[1:]) if isinstance(made, tuple) else latents

    def _encode_rows(self, *args: Any, **kwargs: Any) -> Any:
        """Encode each row's texts by themselves, or remember them; then put the rows together."""
        bound = inspect.signature(self._encode).bind(*args, **kwargs)
        bound.apply_defaults()
        number = len(self._rows)
        rows = []
        for row in range(number):
            own = {
                name: [value[row]]
                if "prompt" in name and isinstance(value, list) and len(value) == number
                else value
                for name, value in bound.arguments.items()
            }
            rows.append(self._encode_row(self._rows[row].text, own))
        kinds = [kind_of(row, lengths=self.sharing == "equal lengths") for row in rows]
        if len(set(kinds)) > 1:
            raise Uneven(kinds)
        if not isinstance(rows[0], tuple):
            return joined(rows)
        return tuple(joined(list(parts)) for parts in zip(*rows, strict=True))

    def _encode_row(self, text: str, arguments: dict[str, Any]) -> Any:
        """Encode what belongs to one row, given the arguments of the pipeline's `encode_prompt`.

        The draws of `text` bear the cost.
        """
        arguments = {**arguments, **arguments.pop("kwargs", {})}
        key = repr(sorted(arguments.items(), key=lambda item: item[0]))
        return self._remembered(text, key, lambda: self._encode(**arguments))

    def _remembered(self, text: str, key: Hashable, encode: Callable[[], Any]) -> Any:
        encoded, flops = self._once(self._prompts, key, encode)
        self._encoding.setdefault(text, []).append(flops)
        return encoded

    def _once(
        self, cache: LRUCache[Hashable, V], key: Hashable, make: Callable[[], V]
    ) -> tuple[V, float | None]:
        """Return the value of a key and the FLOPs that it took just now: none, if it was there."""
        if (known := cache.get(key)) is not None:
            return known, 0.0
        before = self._meter.take()
        value = cache[key] = make()
        flops = self._meter.take().flops
        self._meter.put_back(before)
        return value, flops
