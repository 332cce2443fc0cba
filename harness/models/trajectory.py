"""Parts of a denoising trajectory: a diffusers pipeline makes some of its steps, and goes on later.

The stock pipeline samples as ever; while a part of a trajectory runs, its scheduler hands out the
timesteps of that part alone. What a multistep solver remembers of earlier steps is taken out of the
scheduler where the part stops and put back where it goes on, so that stopped and continued equals
the whole, bit for bit.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.records import Request

if TYPE_CHECKING:
    import torch

SOLVERS = frozenset(
    {
        "DPMSolverMultistepScheduler",
        "FlowMatchEulerDiscreteScheduler",
        "EulerDiscreteScheduler",
        "DDIMScheduler",
        "UniPCMultistepScheduler",
    }
)
"""Schedulers whose memory and noise levels are known here."""

_MEMORY = frozenset(
    {"model_outputs", "last_sample", "lower_order_nums", "this_order", "_step_index"}
)
"""Attributes in which they keep what later steps need."""

Level = tuple[float, float]
"""Factors of image and noise, ``x = alpha * image + sigma * noise``."""


class Part:
    """The steps that one batch makes. Has state: what the solver remembers, once they are made.

    Args:
        requests: One a row, of one batch shape; those with a start bring its state.
        scheduler: The pipeline's.
        steps: Steps of the whole trajectory.

    Raises:
        HarnessError: The solver cannot stop, or a state is not there or of another schedule.
    """

    def __init__(self, requests: Sequence[Request], scheduler: Any, steps: int) -> None:
        request = requests[0]
        self._requests = requests
        self._scheduler = scheduler
        self._steps, self._first, self._stop = steps, request.first, request.stop
        self._last = steps if request.stop is None else request.stop
        self._goes_on = request.start is not None and request.renoise is None
        self._clean: torch.Tensor | None = None
        self._latents: torch.Tensor | None = None
        self._check_solver()
        states: dict[str, dict[str, Any]] = {}
        for row in requests:
            if row.start is not None and row.id not in states:
                states[row.id] = _unpacked(row, steps)
        self._states = [states[row.id] for row in requests if row.start is not None]

    @classmethod
    def of(cls, requests: Sequence[Request], scheduler: Any, steps: int) -> Part | None:
        """Return the part of the trajectory that a batch makes; None for whole draws.

        Raises:
            HarnessError: As the class.
        """
        if requests[0].start is None and requests[0].stop is None:
            return None
        return cls(requests, scheduler, steps)

    def latents(self, noise: torch.Tensor) -> torch.Tensor:
        """Return the latents to begin with, a row a request.

        The scheduler's timesteps must have been set, for the levels of noise to be known.

        Args:
            noise: The noise of each request.
        """
        import torch

        if not self._states:
            return noise
        latents = torch.stack([state["latents"] for state in self._states])
        if self._goes_on:
            return latents
        rows = [
            renoised(row, fresh, self._level(request.start.last), self._level(self._first))
            for row, fresh, request in zip(latents, noise, self._requests, strict=True)
            if request.start is not None
        ]
        return torch.stack(rows).to(latents.dtype)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Have the scheduler hand out this part's timesteps, and remember what it should."""
        scheduler = self._scheduler
        set_timesteps, step = scheduler.set_timesteps, scheduler.step
        whole: list[Any] = []

        @wraps(set_timesteps)
        def set_part(*args: Any, **options: Any) -> None:
            set_timesteps(*args, **options)
            whole[:] = [scheduler.timesteps]
            scheduler.timesteps = scheduler.timesteps[self._first : self._last]
            if self._first and hasattr(scheduler, "_step_index"):
                scheduler._step_index = self._first

        @wraps(step)
        def step_in_whole(model_output: Any, timestep: Any, sample: Any, **options: Any) -> Any:
            # A solver may ask how many steps are left, of the whole trajectory.
            if scheduler.timesteps is not whole[0]:
                scheduler.timesteps = whole[0]
                if self._goes_on:
                    self._remember(sample)
            output = step(model_output, timestep, sample, **{**options, "return_dict": True})
            self._clean = _clean(scheduler, output, model_output, sample)
            return output if options.get("return_dict", True) else (output.prev_sample,)

        scheduler.set_timesteps, scheduler.step = set_part, step_in_whole
        kind = type(scheduler)
        if self._states:  # they are at their level of noise, so nothing is to scale them to it
            scheduler.__class__ = type(kind.__name__, (kind,), {"init_noise_sigma": 1.0})
        try:
            yield
        finally:
            scheduler.__class__ = kind
            del scheduler.set_timesteps, scheduler.step

    def end(self, latents: torch.Tensor) -> torch.Tensor:
        """Return the latents to decode: the predicted clean image where steps are left.

        Args:
            latents: After this part's last step.
        """
        self._latents = latents
        if self._last == self._steps:
            return latents
        assert self._clean is not None
        return self._clean.to(latents.dtype)

    def states(self, rows: int) -> list[bytes | None]:
        """Return where each of the first rows stopped; None for draws without a stop."""
        if self._stop is None:
            return [None] * rows
        return [self._packed(row) for row in range(rows)]

    def _check_solver(self) -> None:
        scheduler = self._scheduler
        name = type(scheduler).__name__
        config = scheduler.config
        # Solvers that add noise of their own on the way, or keep no prediction of the image.
        others = {
            "algorithm_type": (None, "dpmsolver++"),
            "predict_x0": (None, True),
            "stochastic_sampling": (None, False),
            "solver_p": (None,),
        }
        unknown = [n for n, known in others.items() if getattr(config, n, None) not in known]
        if name not in SOLVERS or unknown:
            what = "".join(f" with {n}={getattr(config, n)}" for n in unknown)
            raise HarnessError(
                f"a draw of the solver {name}{what} cannot stop before its last step",
                f"use a checkpoint with one of {', '.join(sorted(SOLVERS))}, or a strategy that "
                "makes whole draws",
            )

    def _level(self, step: int) -> Level:
        """Return the level of noise after so many steps."""
        scheduler = self._scheduler
        match type(scheduler).__name__:
            case "DDIMScheduler":
                is_end = step == len(scheduler.timesteps)
                kept = (
                    scheduler.final_alpha_cumprod
                    if is_end
                    else scheduler.alphas_cumprod[scheduler.timesteps[step]]
                )
                return math.sqrt(float(kept)), math.sqrt(1.0 - float(kept))
            case "FlowMatchEulerDiscreteScheduler":
                sigma = float(scheduler.sigmas[step])
                return 1.0 - sigma, sigma
            case "EulerDiscreteScheduler":
                return 1.0, float(scheduler.sigmas[step])
        alpha, sigma = scheduler._sigma_to_alpha_sigma_t(scheduler.sigmas[step])
        return float(alpha), float(sigma)

    def _packed(self, row: int) -> bytes:
        import torch
        from safetensors.torch import save

        assert self._latents is not None
        tensors = {"latents": self._latents[row]}
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
    the lower level, x' has it at the higher one.

    Args:
        latents: At the lower level.
        noise: Standard normal, of the same shape.
        before: The lower level.
        after: The higher one.
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
        case "EulerDiscreteScheduler" | "DDIMScheduler":
            clean = output.pred_original_sample
        case _:
            clean = scheduler.model_outputs[-1]
    return clean


def _unpacked(request: Request, steps: int) -> dict[str, Any]:
    """Return the state that a request starts from, by name.

    Raises:
        HarnessError: It is not there, or it is of another step or schedule.
    """
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
