"""Choosing a batch size by a short measurement on the device that will do the work.

The batch shape is part of every draw's identity, so it is measured once, before a run begins,
and written into its config; whatever goes on with the run takes it from there. What counts is the
whole run: a size that is quick when it is full is slow where the strategy and the number of
searches leave it half empty. The smallest size that comes close to the best is taken: larger
batches would gain next to nothing and hold more memory.
"""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from harness.engine.devices import memory_held, memory_limit
from harness.engine.ladder import Round, batches, ladder, laddered, rehearsed, takes_rows
from harness.engine.launch import DEFAULT_GPU_SHARE, Execution
from harness.engine.worker import Setup, load, prepare_process
from harness.errors import HarnessError
from harness.log.manifest import Manifest
from harness.log.run_folder import RunFolder
from harness.plan import Plan
from harness.records import Ability, Feedback, Request, Role

SIZES = (1, 2, 4, 8, 16, 32, 64)
"""Batch sizes that are tried, in this order."""

CLOSE = 0.95
"""Share of the best images/s that is good enough."""

BATCHES = 3
"""Batches timed at each size, after one to warm up."""


@dataclass(frozen=True)
class Size:
    """The measurement of one batch size.

    Attributes:
        images_per_second: In the median batch.
        memory_bytes: The most memory held so far: of the GPU, or of the process on a CPU.
    """

    batch_size: int
    images_per_second: float
    memory_bytes: int


@dataclass(frozen=True)
class Calibration:
    """The choice and its grounds.

    Attributes:
        stopped: Why no larger size was tried.
    """

    batch_size: int
    sizes: tuple[Size, ...]
    stopped: str


Choice = Callable[[Sequence[Size]], int]


def choose(sizes: Sequence[Size]) -> int:
    """The smallest batch size that comes close to the fastest."""
    best = max(size.images_per_second for size in sizes)
    return min(s.batch_size for s in sizes if s.images_per_second >= CLOSE * best)


def quickest(rounds: Sequence[Round], is_laddered: bool, sizes: Sequence[Size]) -> int:
    """The smallest batch size with which a run of these rounds comes close to its least time."""
    rates = {size.batch_size: size.images_per_second for size in sizes}

    def seconds(most: int) -> float:
        rungs = (ladder(rounds, most) if is_laddered else ()) or (most,)
        return sum(
            count * rows / rates[min(rates, key=lambda size: abs(size - rows))]
            for rows, count in batches(rounds, rungs).items()
        )

    least = min(map(seconds, rates))
    return min(size for size in rates if seconds(size) * CLOSE <= least)


def calibrate(plan: Plan, execution: Execution, *, is_laddered: bool = True) -> Calibration:
    """Measure a few batch sizes of a plan's generator where it will run.

    Raises:
        HarnessError: The model cannot be loaded, not even one image fits, or the cluster has no
            place for it in the time for that.
    """
    setup = Setup(plan.config, plan.paths, execution.device)
    gives_feedback = Ability.FEEDBACK in plan.strategy.needs()
    context = int(getattr(plan.strategy, "context", 1)) if gives_feedback else 0
    share = {**DEFAULT_GPU_SHARE, **execution.gpu_share}[Role.GENERATOR]
    best = choose
    if plan.strategy.can_rehearse:
        best = partial(quickest, rehearsed(plan), is_laddered and takes_rows(plan))
    if execution.uses_ray:
        return _calibrate_on_ray(setup, context, share, execution, best)
    return measure_sizes(Probe(setup, context, share).measure, best)


def _calibrate_on_ray(
    setup: Setup, context: int, share: float, execution: Execution, best: Choice
) -> Calibration:
    """Measure on an actor, size by size: if it dies, the sizes that it did are known."""
    import ray

    from harness.engine.executors.cluster import connect, died_of

    patience = execution.patience
    deadline = patience.load + patience.first + BATCHES * patience.batch
    owned = connect(execution.address)
    probe: Any = None

    def comes(answer: Any, seconds: float) -> bool:
        """Return whether an answer, or an error in its place, comes in time."""
        ready, _ = ray.wait([answer], timeout=None if math.isinf(seconds) else seconds)
        return bool(ready)

    def measure(size: int) -> Size | str:
        answer = probe.measure.remote(size)
        if not comes(answer, deadline):
            return f"a batch of {size} ran past its deadline"
        try:
            result: Size | str = ray.get(answer)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, HarnessError):
                raise error.cause from error
            raise HarnessError(f"batch sizes cannot be measured: {error.cause}") from error
        except ray.exceptions.RayError as error:
            return f"the worker that tried a batch of {size} was lost ({died_of(error)})"
        return result

    try:
        on_gpu = execution.device.startswith("cuda")
        actor_class = ray.remote(Probe).options(
            num_cpus=1, num_gpus=share if on_gpu else 0, max_restarts=0, max_task_retries=0
        )
        probe = actor_class.remote(setup, context, share)
        if not comes(probe.__ray_ready__.remote(), patience.place):
            raise HarnessError(
                f"the generator to be calibrated found no place in the cluster within "
                f"{patience.place:g} s",
                "`ray status` shows which nodes and GPUs there are and who holds them",
            )
        return measure_sizes(measure, best)
    finally:
        if probe is not None:
            ray.kill(probe)
        if owned:
            ray.shutdown()


def earlier(plan: Plan, folders: Sequence[RunFolder], *, is_laddered: bool) -> int | None:
    """The batch size of a run that differs from the plan in nothing else and was calibrated.

    So the same command goes on with the same run, although another measurement might choose
    otherwise.
    """
    for folder in folders:
        try:
            manifest = Manifest.read(folder.manifest)
            size = int(manifest.config["generator"]["batch_size"])
        except (HarnessError, KeyError, TypeError, ValueError):
            continue  # no run of ours; whoever opens it will say so
        if not any("calibration" in session for session in manifest.sessions):
            continue
        again = with_batch_size(plan, size, is_laddered=is_laddered)
        if again.config.digest == manifest.config_digest:
            return size
    return None


def with_batch_size(plan: Plan, size: int, *, is_laddered: bool) -> Plan:
    """Return the plan with another batch size of its generator, and a ladder down from there."""
    generator = plan.config.generator.model_copy(update={"batch_size": size})
    config = plan.config.model_copy(update={"generator": generator, "batch_rows": ()})
    other = replace(plan, config=config)
    return laddered(other) if is_laddered else other


class Probe:
    """Times batches of the generator. Has state: the model, once it is loaded."""

    def __init__(self, setup: Setup, context: int, share: float) -> None:
        # Loads in a method, so that on an actor its errors are ordinary ones.
        self._setup = setup
        self._context = context
        self._share = share
        self._limit: float | None = None
        self._model: Any = None

    def measure(self, size: int) -> Size | str:
        """Time a full batch a few times, or say why this size is too large."""
        if self._limit is None:
            prepare_process(self._setup)
            self._limit = memory_limit(self._setup.device, self._share)
        batch = made_up(self._setup.config.generator.settings, size, self._context)
        try:
            model = self._generator(size)
            model.generate(batch)
            times = []
            for _ in range(BATCHES):
                started = time.perf_counter()
                model.generate(batch)
                times.append(time.perf_counter() - started)
        except (RuntimeError, MemoryError) as error:
            if not _out_of_memory(error):
                raise
            return f"a batch of {size} does not fit into memory"
        held = memory_held(self._setup.device)
        if held > self._limit:
            return f"a batch of {size} holds more memory than the generator's share"
        return Size(size, size / statistics.median(times), held)

    def _generator(self, size: int) -> Any:
        if hasattr(self._model, "batch_size"):
            self._model.batch_size = size
            return self._model
        self._model = None  # two at once might not fit
        gc.collect()
        config = self._setup.config
        spec = config.generator.model_copy(update={"batch_size": size})
        config = config.model_copy(update={"generator": spec})
        self._model = load(Role.GENERATOR, replace(self._setup, config=config))
        return self._model


def measure_sizes(measure: Callable[[int], Size | str], best: Choice = choose) -> Calibration:
    """Try one size after the other until nothing more is gained or memory runs out.

    Raises:
        HarnessError: Not even one image fits.
    """
    sizes: list[Size] = []
    stopped = "no larger size is tried"
    for size in SIZES:
        result = measure(size)
        if isinstance(result, str):
            stopped = result
            break
        sizes.append(result)
        if len(sizes) > 2 and choose(sizes) < sizes[-2].batch_size:
            stopped = "larger batches gained next to nothing"
            break
    if not sizes:
        raise HarnessError(
            f"the generator cannot be calibrated: {stopped}",
            "use a device with more memory, or give a number with --batch-size",
        )
    return Calibration(best(sizes), tuple(sizes), stopped)


def made_up(settings: Mapping[str, Any], size: int, context: int) -> list[Request]:
    """Return requests to measure a generator by."""
    shape = (int(settings.get("height") or 64), int(settings.get("width") or 64), 3)
    seen = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    feedback = tuple(
        Feedback(f"calibration-{n}", "There is no dog in image") for n in range(context)
    )
    images = {item.draw_id: seen for item in feedback}
    return [
        Request(f"calibration-{n}", f"a photo of {n} dogs", ((n, 1.0),), settings, feedback, images)
        for n in range(size)
    ]


def _out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return any(what in str(error).lower() for what in ("out of memory", "can't allocate memory"))
