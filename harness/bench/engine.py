"""How much of the generator's speed a run keeps, and how much faster it is than one at a time.

All sides use the same checkpoints, number format, threads and draws, loaded beforehand and not
counted, and take turns round by round, so that a busy machine slows all of them.

Two comparisons. *Generation alone* (no judge, no scorer): a bare loop that hands the generator
full batches and throws the images away, against whole runs of the engine, in this process and on
a Ray actor. Each is held to a bare loop in its own process, with its own copy of the model: two
processes of one machine can differ in pace for as long as they live, at the same work, by more
than the engine costs. *Judged draws*: the published script's way, one image at a time through the
stock pipeline, its prompt encoded anew for every draw, judged alone and saved, against a whole
run of the engine with the same judge.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image as Pillow

from harness.engine.executors.base import Executor
from harness.engine.executors.inline import InlineExecutor
from harness.engine.launch import Execution, work
from harness.engine.worker import Setup, load
from harness.log import store
from harness.log.run_folder import RunFolder
from harness.models.base import Request
from harness.options import build
from harness.plan import Plan
from harness.records import Prompt, Role
from harness.seeds import seed


@dataclass(frozen=True)
class Side:
    """One way of making the draws.

    Attributes:
        seconds: Of each round.
        models: Of these, seconds inside models.
        images: Images a round.
    """

    seconds: tuple[float, ...]
    models: tuple[float, ...]
    images: int

    @property
    def per_second(self) -> float:
        """Images a second, in the median round."""
        return self.images / statistics.median(self.seconds)

    @property
    def model_ms(self) -> float:
        """Milliseconds of an image inside models, in the median round."""
        return 1000 * statistics.median(self.models) / self.images

    @property
    def other_ms(self) -> float:
        """Milliseconds of an image outside them that nothing overlapped, in the median round."""
        rest = [a - b for a, b in zip(self.seconds, self.models, strict=True)]
        return 1000 * statistics.median(rest) / self.images

    @property
    def inside(self) -> float:
        """Share of the time that was spent inside models, in the median round.

        For an actor, what else the driver does beside it counts as outside.
        """
        pairs = zip(self.models, self.seconds, strict=True)
        return statistics.median(inside / whole for inside, whole in pairs)

    def ratio(self, other: Side) -> float:
        """How many times as fast as another, in the median over rounds of the same number."""
        pairs = zip(other.seconds, self.seconds, strict=True)
        return statistics.median(theirs / ours for theirs, ours in pairs)


@dataclass(frozen=True)
class Measured:
    """All sides.

    Attributes:
        bare: Full batches through the generator in this process, nothing else.
        inline: The engine in this process, generation alone.
        bare_ray: The bare loop inside the Ray actor; None if left out.
        ray: The engine on that actor, generation alone; None if left out.
        single: One image at a time, judged.
        judged: The engine in this process, judged.
    """

    bare: Side
    inline: Side
    bare_ray: Side | None
    ray: Side | None
    single: Side
    judged: Side


_Round = tuple[float, float]
"""Seconds, and of these inside models."""


def measure(
    plan: Plan,
    *,
    rounds: int,
    device: str,
    with_ray: bool = True,
    compiled: bool = False,
    observe: Callable[[int, int], None] = lambda done, total: None,
) -> Measured:
    """Make the plan's draws in every way, several times each, after one warm-up of all.

    Args:
        plan: A best-of-n run of a SANA generator, with a judge; its scorer is left out.
        rounds: How often.
        device: A torch device.
        with_ray: Whether to measure the engine on Ray too.
        compiled: Whether the denoiser goes through `torch.compile`, on all sides but Ray's.
        observe: Called with how many rounds are done, of how many.

    Raises:
        HarnessError: A model cannot be loaded, or fails.
    """
    judged = replace(plan, config=plan.config.model_copy(update={"scorer": None}))
    none = plan.config.judge.model_copy(update={"kind": "none", "checkpoints": {}, "settings": {}})
    alone = replace(judged, config=judged.config.model_copy(update={"judge": none}))
    setup = Setup(judged.config, plan.paths, device)
    models = _Loaded(setup, [Role.GENERATOR, Role.JUDGE])
    models.start()
    one_judge = load(Role.JUDGE, Setup(_single_rows(judged), plan.paths, device))
    generator = models.model(Role.GENERATOR)
    actors = _actors(Setup(alone.config, plan.paths, device)) if with_ray else None
    if compiled:
        generator.pipeline.transformer.compile(dynamic=False)
    # What is compared runs one after the other: machines change their pace within minutes.
    ways: dict[str, Callable[[], _Round]] = {
        "bare": lambda: _bare(alone, generator),
        "inline": lambda: _engine(alone, models),
    }
    if actors is not None:
        ways["bare_ray"] = lambda: actors.bare(alone)
        ways["ray"] = lambda: _engine(alone, actors)
    ways["single"] = lambda: _one_at_a_time(judged, generator, one_judge)
    ways["judged"] = lambda: _engine(judged, models)
    found: dict[str, list[_Round]] = {name: [] for name in ways}
    try:
        for number in range(rounds + 1):
            for name, way in ways.items():
                found[name].append(way())
            observe(number, rounds)
    finally:
        if actors is not None:
            actors.release()
    images = len(plan.prompts) * plan.config.replicates * plan.config.budget
    sides = {
        name: Side(tuple(s for s, _ in kept[1:]), tuple(m for _, m in kept[1:]), images)
        for name, kept in found.items()
    }
    return Measured(
        bare=sides["bare"],
        inline=sides["inline"],
        bare_ray=sides.get("bare_ray"),
        ray=sides.get("ray"),
        single=sides["single"],
        judged=sides["judged"],
    )


class _Loaded(InlineExecutor):
    """Keeps its models from one run to the next, since loading is not what is measured."""

    def start(self) -> None:
        if not self._workers:
            super().start()

    def close(self) -> None:
        return

    def model(self, role: Role) -> Any:
        """The model itself, for the sides that do without an engine."""
        return self._workers[role].model


def _actors(setup: Setup) -> Any:
    import ray

    from harness.engine.executors.ray import Placement, RayExecutor

    class Kept(RayExecutor):
        """Keeps its actors from one run to the next."""

        started = False

        def start(self) -> None:
            if not self.started:
                super().start()
                self.started = True

        def close(self) -> None:
            return

        def release(self) -> None:
            super().close()

        def bare(self, plan: Plan) -> _Round:
            """The bare loop, in the actor's process and with its model."""
            (slot,) = self._slots
            found: _Round = ray.get(slot.actor.__ray_call__.remote(_bare_inside, plan))
            return found

    gpus = 1.0 if setup.device.startswith("cuda") else 0.0
    kept = Kept(setup, {Role.GENERATOR: Placement(gpus=gpus, cpus=1.0)})
    kept.start()
    return kept


def _single_rows(plan: Plan) -> Any:
    judge = plan.config.judge.model_copy(update={"batch_size": 1})
    return plan.config.model_copy(update={"judge": judge})


def _draws(plan: Plan) -> list[tuple[Prompt, Request]]:
    """The draws of a best-of-n run, with the noise that the engine would give them."""
    config = plan.config
    found = []
    for replicate in range(config.replicates):
        for prompt in plan.prompts:
            for index in range(config.budget):
                noise = seed(config.seed, prompt.id, replicate, index, "noise")
                name = f"{prompt.id}/{replicate}/{index}"
                request = Request(name, prompt.text, noise, config.generator.settings)
                found.append((prompt, request))
    return found


def _bare(plan: Plan, generator: Any) -> _Round:
    requests = [request for _, request in _draws(plan)]
    size = plan.config.generator.batch_size
    started = time.perf_counter()
    for first in range(0, len(requests), size):
        generator.generate(requests[first : first + size])
    seconds = time.perf_counter() - started
    return seconds, seconds


def _bare_inside(actor: Any, plan: Plan) -> _Round:
    return _bare(plan, actor.worker.model)


def _one_at_a_time(plan: Plan, generator: Any, judge: Any) -> _Round:
    """As the published script goes about it; only the models stay where they are."""
    settings = build(generator.Settings, plan.config.generator.settings, flag="-G")
    pipeline = generator.pipeline
    instruction = {} if settings.complex_human_instruction else {"complex_human_instruction": None}
    with tempfile.TemporaryDirectory() as temporary:
        started, inside = time.perf_counter(), 0.0
        for number, (prompt, request) in enumerate(_draws(plan)):
            before = time.perf_counter()
            (image,) = pipeline(
                prompt=prompt.text,
                negative_prompt=settings.negative_prompt,
                latents=generator.noise([request.noise_seed], settings),
                num_inference_steps=settings.num_inference_steps,
                guidance_scale=settings.guidance_scale,
                height=settings.height,
                width=settings.width,
                max_sequence_length=settings.max_sequence_length,
                use_resolution_binning=False,
                output_type="np",
                **instruction,
            ).images
            pixels = (image * 255).round().astype("uint8")
            judge.judge([prompt], [pixels], [number])
            inside += time.perf_counter() - before
            Pillow.fromarray(pixels).save(Path(temporary) / f"{number:05d}.png")
        return time.perf_counter() - started, inside


def _engine(plan: Plan, executor: Executor) -> _Round:
    with tempfile.TemporaryDirectory() as temporary:
        folder = RunFolder(Path(temporary) / "run")
        started = time.perf_counter()
        work(plan, Execution(), folder, command="bench", executor=executor)
        seconds = time.perf_counter() - started
        return seconds, _inside(folder, [Role.GENERATOR, Role.JUDGE])


def _inside(folder: RunFolder, roles: Sequence[Role]) -> float:
    columns = [f"{role}_device_seconds" for role in roles]
    table = store.read(folder.log, "candidates", columns)
    return sum(value or 0.0 for name in columns for value in table[name].to_pylist())
