"""How much of the generator's speed a run keeps, and how much faster it is than one at a time.

All sides use the same checkpoints, number format, threads and draws, loaded beforehand and not
counted, and take turns round by round, so that a busy machine slows all of them.

Two comparisons. *Generation alone* (no judge, no scorer): a bare loop that hands the generator
full batches and throws the images away, against whole runs of the engine, in this process and on
a Ray actor. Each is held to a bare loop in its own process, with its own copy of the model: two
processes of one machine can differ in pace for as long as they live, at the same work, by more
than the engine costs. *Judged draws*: the published script's way, one image at a time through the
stock pipeline, its prompt encoded anew for every draw, judged alone and saved, against whole runs
of the engine with the same judge: in this process, and on as many generator actors of one thread
each as this process has threads, since small batches gain little from several.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image as Pillow

from harness.bench.kept import Loaded, actors
from harness.engine.executors.base import Executor
from harness.engine.launch import Execution, work
from harness.engine.worker import Setup, load
from harness.log import store
from harness.log.run_folder import RunFolder
from harness.options import build
from harness.plan import Plan
from harness.records import Draw, Prompt, Request, Role


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
        spread: The engine on actors of one thread each, judged; None if left out.
    """

    bare: Side
    inline: Side
    bare_ray: Side | None
    ray: Side | None
    single: Side
    judged: Side
    spread: Side | None


_Round = tuple[float, float]
"""Seconds, and of these inside models."""

_Way = Callable[[], _Round]


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
    judged = _with(plan, scorer=None)
    none = plan.config.judge.model_copy(update={"kind": "none", "checkpoints": {}, "settings": {}})
    alone = _with(judged, judge=none)
    models = Loaded(Setup(judged.config, plan.paths, device), [Role.GENERATOR, Role.JUDGE])
    models.start()
    one_judge = load(Role.JUDGE, Setup(_single_rows(judged), plan.paths, device))
    generator = models.model(Role.GENERATOR)
    if compiled:
        generator.pipeline.transformer.compile(dynamic=False)
    with _on_ray(alone, judged, device, wanted=with_ray) as on_ray:
        # What is compared runs one after the other: machines change their pace within minutes.
        ways: dict[str, _Way] = {
            "bare": lambda: _bare(alone, generator),
            "inline": lambda: _engine(alone, models),
            **on_ray,
            "single": lambda: _one_at_a_time(judged, generator, one_judge),
            "judged": lambda: _engine(judged, models),
        }
        found: dict[str, list[_Round]] = {name: [] for name in ways}
        for number in range(rounds + 1):
            for name, way in ways.items():
                found[name].append(way())
            observe(number, rounds)
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
        spread=sides.get("spread"),
    )


def _with(plan: Plan, **fields: Any) -> Plan:
    return replace(plan, config=plan.config.model_copy(update=fields))


@contextmanager
def _on_ray(alone: Plan, judged: Plan, device: str, *, wanted: bool) -> Iterator[dict[str, _Way]]:
    """The ways on Ray, while their actors live; none if they are not wanted."""
    if not wanted:
        yield {}
        return
    narrow = _with(judged, threads=1)
    generators = 1 if device.startswith("cuda") else judged.config.threads
    with (
        actors(Setup(alone.config, alone.paths, device), {Role.GENERATOR: 1}) as one,
        actors(
            Setup(narrow.config, narrow.paths, device), {Role.GENERATOR: generators, Role.JUDGE: 1}
        ) as several,
    ):
        yield {
            "bare_ray": lambda: one.inside(_bare_inside, alone),
            "ray": lambda: _engine(alone, one),
            "spread": lambda: _engine(narrow, several, generators=generators),
        }


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
                found.append((prompt, plan.resolver.resolve(prompt, replicate, Draw(index))))
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


def _engine(plan: Plan, executor: Executor, *, generators: int = 1) -> _Round:
    """A whole run. Of several generators at once, seconds inside models are those of one."""
    roles = [Role.GENERATOR] if generators > 1 else [Role.GENERATOR, Role.JUDGE]
    with tempfile.TemporaryDirectory() as temporary:
        folder = RunFolder(Path(temporary) / "run")
        started = time.perf_counter()
        work(plan, Execution(), folder, command="bench", executor=executor)
        seconds = time.perf_counter() - started
        return seconds, _inside(folder, roles) / generators


def _inside(folder: RunFolder, roles: Sequence[Role]) -> float:
    columns = [f"{role}_device_seconds" for role in roles]
    table = store.read(folder.log, "candidates", columns)
    return sum(value or 0.0 for name in columns for value in table[name].to_pylist())
