"""Parts of a denoising trajectory: a diffusers pipeline makes some of its steps, and goes on later.

The stock pipeline samples as ever; while a part of a trajectory runs, its scheduler hands out the
timesteps of that part alone. What a multistep solver remembers of earlier steps, and where the
generator of a stochastic one stands, is taken out where the part stops and put back where it goes
on, so that stopped and continued equals the whole, bit for bit.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.records import Request, whole_steps

if TYPE_CHECKING:
    import torch

SOLVERS = frozenset({
    "DDIMScheduler", "DDPMScheduler", "DPMSolverMultistepScheduler",
    "EulerAncestralDiscreteScheduler", "EulerDiscreteScheduler", "FlowMatchEulerDiscreteScheduler",
    "LCMScheduler", "SCMScheduler", "UniPCMultistepScheduler",
})  # fmt: skip
"""Schedulers whose memory and noise levels are known here."""

_OPTIONS: dict[str, tuple[Any, ...]] = {
    "algorithm_type": (None, "dpmsolver++", "sde-dpmsolver++"),
    "predict_x0": (None, True),
    "solver_p": (None,),
    "invert_sigmas": (None, False),
}
"""Options with which they keep a prediction of the clean image."""

_BY_INDEX = {"cfg_trunc_ratio": 1.0, "denoising_end": None}
"""Settings by which a pipeline counts its steps itself, with the values that switch that off."""

_MEMORY = frozenset(
    {"model_outputs", "last_sample", "lower_order_nums", "this_order", "_step_index"}
)
"""Attributes in which they keep what later steps need."""

Level = tuple[float, float]
"""Factors of image and noise, ``x = alpha * image + sigma * noise``."""


def why_whole(solver: str, config: Mapping[str, Any]) -> str:
    """Return why draws of a solver cannot stop before their last step; "" where they can."""
    unknown = [name for name, known in _OPTIONS.items() if config.get(name) not in known]
    if solver in SOLVERS and not unknown:
        return ""
    options = "".join(f" with {name}={config[name]}" for name in unknown)
    return f"a draw of the solver {solver}{options} cannot stop before its last step"


class Trajectory:
    """The steps that one batch makes. Has state: what the solver remembers, once they are made.

    Args:
        requests: One a row, of one batch shape; those with a start bring its state.
        generators: One a row, of its first noise and of what a solver adds on its way.
        scheduler: The pipeline's.
        settings: The sampler settings of all rows.

    Raises:
        HarnessError: The solver cannot stop, or a state is not there or of another schedule.
    """

    def __init__(
        self,
        requests: Sequence[Request],
        generators: Sequence[torch.Generator],
        scheduler: Any,
        settings: Mapping[str, Any],
    ) -> None:
        request = requests[0]
        self._requests, self.generators = requests, list(generators)
        self._scheduler = scheduler
        self._steps = steps = whole_steps(settings)
        self._first, self._stop = request.first, request.stop
        self._last = steps if request.stop is None else request.stop
        self._made = self._first
        self._is_whole = request.start is None and request.stop is None
        self._goes_on = request.start is not None and request.renoise is None
        self._ends_in_zero = type(scheduler).__name__ == "SCMScheduler"
        self._timesteps: Any = None
        self._fresh: tuple[torch.Tensor, torch.Tensor] | None = None
        self._latents: torch.Tensor | None = None
        if not self._is_whole:
            self._check(settings)
        states: dict[str, dict[str, Any]] = {}
        for row in requests:
            if row.start is not None and row.id not in states:
                states[row.id] = _unpacked(row, steps)
        self._states = [states[row.id] for row in requests if row.start is not None]

    def begin(self, noise: torch.Tensor) -> torch.Tensor:
        """Return the latents to begin with, a row a request.

        Some pipelines set their timesteps only afterwards, so the levels of noise are not known
        yet: latents that are taken back to one are then filled in later, in place.
        """
        import torch

        if not self._states:
            return noise
        latents = torch.stack([state["latents"] for state in self._states]).to(noise.device)
        if self._goes_on:
            for generator, state in zip(self.generators, self._states, strict=True):
                generator.set_state(state["generator"])
        else:
            self._fresh = latents, noise
            self._renoise()
        # The pipeline of this solver scales whatever it begins with; a power of two is exact.
        return latents / self._scheduler.config.sigma_data if self._ends_in_zero else latents

    @contextmanager
    def running(self) -> Iterator[None]:
        """Have the scheduler hand out these steps alone, with each row's own noise on the way."""
        scheduler = self._scheduler
        set_timesteps, step = scheduler.set_timesteps, scheduler.step
        own = {"generator": self.generators}
        own = own if "generator" in inspect.signature(step).parameters else {}

        @wraps(set_timesteps)
        def set_part(*args: Any, **options: Any) -> None:
            set_timesteps(*args, **options)
            whole = self._timesteps = scheduler.timesteps
            if len(whole) - self._ends_in_zero != self._steps:
                raise HarnessError(
                    f"the solver {type(scheduler).__name__} makes {len(whole)} steps of "
                    f"{self._steps}, so its draws cannot stop in between"
                )
            self._renoise()
            scheduler.timesteps = whole[self._first : self._last + self._ends_in_zero]
            if self._first and hasattr(scheduler, "_step_index"):
                scheduler._step_index = self._first

        @wraps(step)
        def step_in_whole(model_output: Any, timestep: Any, sample: Any, **options: Any) -> Any:
            # A solver may ask how many steps are left, of the whole trajectory.
            if scheduler.timesteps is not self._timesteps:
                scheduler.timesteps = self._timesteps
                if self._goes_on:
                    self._remember(sample)
            options = {**options, **own, "return_dict": True}
            output = step(model_output, timestep, sample, **options)
            self._made += 1
            if self._made == self._last:
                self._latents = output.prev_sample
                if self._last < self._steps:
                    clean = _clean(scheduler, output, model_output, sample)
                    output.prev_sample = clean.to(self._latents.dtype)
            return output.to_tuple()

        @wraps(step)
        def step_with_noise(*args: Any, **options: Any) -> Any:
            return step(*args, **{**options, **own})

        kind = type(scheduler)
        if self._is_whole:
            scheduler.step = step_with_noise
        else:
            scheduler.set_timesteps, scheduler.step = set_part, step_in_whole
        if self._states:  # they are at their level of noise, so nothing is to scale them to it
            scheduler.__class__ = type(kind.__name__, (kind,), {"init_noise_sigma": 1.0})
        try:
            yield
        finally:
            scheduler.__class__ = kind
            for name in vars(scheduler).keys() & {"set_timesteps", "step"}:
                delattr(scheduler, name)

    def states(self, rows: int) -> list[bytes | None]:
        """Return where each of the first rows stopped; None for draws without a stop."""
        if self._stop is None:
            return [None] * rows
        return [self._packed(row) for row in range(rows)]

    def _check(self, settings: Mapping[str, Any]) -> None:
        scheduler = self._scheduler
        reason = why_whole(type(scheduler).__name__, scheduler.config)
        for name, off in _BY_INDEX.items():
            if settings.get(name, off) != off:
                reason = f"a draw with {name}={settings[name]} cannot stop before its last step"
        if reason:
            raise HarnessError(
                reason,
                f"use a checkpoint with one of {', '.join(sorted(SOLVERS))}, or a strategy that "
                "makes whole draws",
            )

    def _renoise(self) -> None:
        """Fill in latents that are taken back to a level of noise, once levels are known."""
        import torch

        if self._fresh is None or self._timesteps is None:
            return
        latents, noise = self._fresh
        rows = [
            renoised(row, fresh, self._level(request.start.last), self._level(self._first))
            for row, fresh, request in zip(latents, noise, self._requests, strict=True)
            if request.start is not None
        ]
        latents.copy_(torch.stack(rows))

    def _level(self, step: int) -> Level:
        """Return the level of noise after so many steps."""
        scheduler = self._scheduler
        timesteps = scheduler.timesteps if self._timesteps is None else self._timesteps
        match type(scheduler).__name__:
            case "DDIMScheduler" | "DDPMScheduler" | "LCMScheduler" as name:
                if step < len(timesteps):
                    alpha = float(scheduler.alphas_cumprod[timesteps[step]])
                else:
                    alpha = float(scheduler.final_alpha_cumprod) if name == "DDIMScheduler" else 1.0
                return math.sqrt(alpha), math.sqrt(1.0 - alpha)
            case "FlowMatchEulerDiscreteScheduler":
                sigma = float(scheduler.sigmas[step])
                return 1.0 - sigma, sigma
            case "EulerDiscreteScheduler" | "EulerAncestralDiscreteScheduler":
                return 1.0, float(scheduler.sigmas[step])
            case "SCMScheduler":
                angle = float(timesteps[step])
                return math.cos(angle), math.sin(angle) * scheduler.config.sigma_data
        alpha, sigma = scheduler._sigma_to_alpha_sigma_t(scheduler.sigmas[step])
        return float(alpha), float(sigma)

    def _packed(self, row: int) -> bytes:
        import torch
        from safetensors.torch import save

        assert self._latents is not None
        tensors = {"latents": self._latents[row], "generator": self.generators[row].get_state()}
        numbers: dict[str, Any] = {}
        for name in _MEMORY & vars(self._scheduler).keys():
            value = getattr(self._scheduler, name)
            if isinstance(value, list):
                numbers[name] = len(value)
                tensors |= {f"{name}.{n}": v[row] for n, v in enumerate(value) if v is not None}
            elif isinstance(value, torch.Tensor):
                tensors[name] = value[row]
            else:
                numbers[name] = value
        facts = {"step": self._last, "steps": self._steps, "numbers": numbers}
        tensors["facts"] = torch.frombuffer(
            bytearray(json.dumps(facts).encode()), dtype=torch.uint8
        )
        return save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})

    def _remember(self, sample: torch.Tensor) -> None:
        """Put back what the solver remembered where these rows stopped."""
        import torch

        states = self._states
        numbers = states[0]["facts"]["numbers"]
        if any(state["facts"]["numbers"] != numbers for state in states):
            raise HarnessError("the requests of one batch differ in the steps behind them")

        def stacked(name: str) -> torch.Tensor | None:
            if name not in states[0]:
                return None
            return torch.stack([state[name] for state in states]).to(sample.device)

        for name in _MEMORY & vars(self._scheduler).keys() | numbers.keys():
            value = getattr(self._scheduler, name, None)
            if isinstance(value, list):
                setattr(
                    self._scheduler, name, [stacked(f"{name}.{n}") for n in range(numbers[name])]
                )
            elif name in numbers:
                setattr(self._scheduler, name, numbers[name])
            else:
                setattr(self._scheduler, name, stacked(name))


def renoised(
    latents: torch.Tensor, noise: torch.Tensor, before: Level, after: Level
) -> torch.Tensor:
    """Return latents taken back to a higher level of noise, as the forward process goes there.

    ``x' = (a' / a) x + sqrt(s'^2 - (a' / a)^2 s^2) z``: where x has the schedule's distribution at
    the lower level, x' has it at the higher one. The noise z is standard normal, of x's shape.
    """
    (alpha, sigma), (lower_alpha, higher_sigma) = before, after
    ratio = lower_alpha / alpha
    fresh = math.sqrt(max(0.0, higher_sigma**2 - (ratio * sigma) ** 2))
    return ratio * latents.float() + fresh * noise.to(latents.device)


def _clean(
    scheduler: Any, output: Any, model_output: torch.Tensor, sample: torch.Tensor
) -> torch.Tensor:
    """Return the clean image, still encoded, that a step's evaluation predicts."""
    clean: torch.Tensor
    match type(scheduler).__name__:
        case "FlowMatchEulerDiscreteScheduler":
            sigma = scheduler.sigmas[scheduler.step_index - 1]
            clean = sample.float() - sigma * model_output.float()
        case "DPMSolverMultistepScheduler" | "UniPCMultistepScheduler":
            clean = scheduler.model_outputs[-1]
        case "LCMScheduler":
            clean = output.denoised
        case _:
            clean = output.pred_original_sample
    return clean


def _unpacked(request: Request, steps: int) -> dict[str, Any]:
    """Return the state that a request starts from, by name."""
    from safetensors.torch import load

    assert request.start is not None
    if request.state is None:
        raise HarnessError(f"the request {request.id} comes without the state that it starts from")
    state: dict[str, Any] = load(request.state)
    facts = json.loads(bytes(state.pop("facts").numpy()))
    if (facts["step"], facts["steps"]) != (request.start.last, steps):
        raise HarnessError(
            f"the request {request.id} starts after step {request.start.last} of {steps}, and the "
            f"state that it brings is after step {facts['step']} of {facts['steps']}"
        )
    return {**state, "facts": facts}
