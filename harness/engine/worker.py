"""A worker, whichever executor put it there: it runs one role's model, batch by batch."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from harness.config import RunConfig
from harness.engine import validate
from harness.engine.jobs import Answer, Drawn, Item, Pixels, Png, Response
from harness.engine.threads import patient_threads
from harness.errors import HarnessError
from harness.identity import shape_of
from harness.log import images
from harness.models.devices import prepare
from harness.models.metrics.together import Metrics, metric_names
from harness.models.remote_code import remote_code
from harness.options import build
from harness.records import Cost, Image, Inquiry, Look, Request, Role
from harness.registry import BENCHMARKS, GENERATORS, JUDGES, import_paths
from harness.seeds import pixel_digest

_A = TypeVar("_A")
_B = TypeVar("_B")

_CHECKS: Mapping[Role, Callable[[Any], None]] = {
    Role.JUDGE: validate.check_verdict,
    Role.SCORER: validate.check_score,
    Role.METRIC: validate.check_metrics,
}
"""By role: the check of an answer about an image."""

CODERS = min(8, os.cpu_count() or 1)
"""Threads that encode and decode a batch's images."""


@dataclass(frozen=True)
class Setup:
    """All that a worker needs to load its model. Travels to other machines.

    Attributes:
        config: The run's config.
        paths: Local folder of each checkpoint, by role and part.
        plugins: Import models that the config names by import path. Whoever plans a run has asked
            for them, or has been asked about them.
    """

    config: RunConfig
    paths: Mapping[Role, Mapping[str, Path]]
    device: str = "cpu"
    plugins: bool = True


class Worker:
    """One role's model and the code around it: decode, run, check, time, encode."""

    def __init__(self, role: Role, setup: Setup) -> None:
        self.role = role
        self._settings = setup.config.generator.settings
        spec = setup.config.specs.get(role)
        self._rows = spec.batch_size if spec is not None else 1
        self._coders: ThreadPoolExecutor | None = None
        prepare_process(setup)
        self.model = load(role, setup)
        self._shape = shape_of(type(self.model))

    def run(self, items: Sequence[Item], *, encode: bool = True) -> list[Answer]:
        """Run one batch; images are PNGs or pixels, new ones PNGs if they are to be encoded.

        Raises:
            BadAnswer: The model answered what cannot be right.
            Exception: Whatever the model raises.
        """
        if self.role is Role.GENERATOR:
            return self._generate([item for item in items if isinstance(item, Request)], encode)
        if isinstance(items[0], Inquiry):
            return self._reply([item for item in items if isinstance(item, Inquiry)])
        return self._look([item for item in items if isinstance(item, Look)])

    def _generate(self, items: Sequence[Request[Pixels]], encode: bool) -> list[Answer]:
        requests = self._with_states(self._threads(_unpacked, items))
        started = time.perf_counter()
        made = self.model.generate(requests)
        share = (time.perf_counter() - started) / len(items)
        validate.check_length(self.role, len(items), len(made))
        for item, answer in zip(items, made, strict=True):
            validate.check_image(answer.image, item.settings)
            validate.check_state(item, answer)
            validate.check_cost(self.role, answer.cost)
        pack = _encoded if encode else _digested
        encoded = self._threads(pack, [answer.image for answer in made])
        return [
            Drawn(
                png,
                digest,
                self._shared(answer.cost, share, len(items), items[0].rows),
                Png(answer.state) if answer.state is not None else None,
            )
            for (png, digest), answer in zip(encoded, made, strict=True)
        ]

    def _with_states(self, requests: Sequence[Request]) -> list[Request]:
        """Return requests with the states that they start from; lost ones are made again.

        What that takes was paid by the draw whose state it is, and is not booked a second time.
        """
        lost = {
            request.start.id: request.start
            for request in requests
            if request.start is not None and request.state is None
        }
        groups: dict[Hashable, list[Request]] = {}
        for start in self._with_states(list(lost.values())) if lost else ():
            groups.setdefault((start.rows, self._shape(start)), []).append(start)
        states: dict[str, bytes | None] = {}
        for group in groups.values():
            size = group[0].rows or self._rows
            for begin in range(0, len(group), size):
                batch = group[begin : begin + size]
                for start, made in zip(batch, self.model.generate(batch), strict=True):
                    validate.check_state(start, made)
                    states[start.id] = made.state
        return [
            replace(request, state=states[request.start.id])
            if request.start is not None and request.start.id in states
            else request
            for request in requests
        ]

    def _reply(self, items: Sequence[Inquiry[Pixels]]) -> list[Answer]:
        inquiries: list[Inquiry] = [
            Inquiry(item.prompt, item.text, tuple(map(_decoded, item.images)), item.seed)
            for item in items
        ]
        started = time.perf_counter()
        replies = self.model.reply(inquiries)
        return self._checked(
            replies, validate.check_reply, time.perf_counter() - started, len(items)
        )

    def _look(self, items: Sequence[Look[Pixels]]) -> list[Answer]:
        prompts = [item.prompt for item in items]
        pixels = self._threads(_decoded, [item.image for item in items])
        started = time.perf_counter()
        if self.role is Role.JUDGE:
            answers = self.model.judge(prompts, pixels, [item.seed for item in items])
        elif self.role is Role.SCORER:
            answers = self.model.score(prompts, pixels)
        else:
            answers = self.model.measure([Look(*row) for row in zip(prompts, pixels, strict=True)])
        seconds = time.perf_counter() - started
        return self._checked(answers, _CHECKS[self.role], seconds, len(items))

    def _checked(
        self,
        answers: Sequence[tuple[Any, Cost]],
        check: Callable[[Any], None],
        seconds: float,
        asked: int,
    ) -> list[Answer]:
        """Return a batch's answers, held against what they can be, with shares of its time."""
        validate.check_length(self.role, asked, len(answers))
        for answer, cost in answers:
            check(answer)
            validate.check_cost(self.role, cost)
        return [
            Response(answer, self._shared(cost, seconds / asked, asked)) for answer, cost in answers
        ]

    def _shared(self, cost: Cost, seconds: float, items: int, rows: int = 0) -> Cost:
        """Return a row's cost with its share of the batch's time and of its padding.

        A model that knows better how many rows it computed says so itself.
        """
        size = rows or self._rows
        computed = size * -(-items // size)
        own = cost.rows if cost.rows is not None else computed / items
        return replace(cost, device_seconds=seconds, rows=own)

    def _threads(self, work: Callable[[_A], _B], items: Sequence[_A]) -> list[_B]:
        """Pack or unpack images side by side: the model waits for it, and zlib lets go of the GIL.

        A batch of eight images of 1024 pixels takes one core most of a second.
        """
        if len(items) < 2 or CODERS < 2:
            return [work(item) for item in items]
        if self._coders is None:
            self._coders = ThreadPoolExecutor(CODERS)
        return list(self._coders.map(work, items))


def prepare_process(setup: Setup) -> None:
    """Settle threads and device, before any model is loaded.

    A judge at an endpoint needs no torch, whose import takes a second and 300 MB: on the CPU, torch
    that is not there yet takes its number of threads from the environment when a model brings it.

    Raises:
        UsageError: The device is not there.
    """
    patient_threads()
    if setup.device == "cpu" and "torch" not in sys.modules:
        os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(setup.config.threads)
        return
    import torch

    torch.set_num_threads(setup.config.threads)
    prepare(setup.device)


def load(role: Role, setup: Setup) -> Any:
    """Load a role's model from its checkpoints.

    Raises:
        ImportRefused: It is named by import path, or brings code, and the setup allows neither.
        HarnessError: A checkpoint is missing or wrong, or a plug-in is unknown.
    """
    spec = setup.config.specs.get(role)
    trusted = spec is not None and spec.trust_remote_code
    with import_paths(allowed=setup.plugins), remote_code(trusted=trusted):
        model = _load(role, setup)
    if "torch" in sys.modules:  # it may have come with the model
        prepare_process(setup)
    return model


def _load(role: Role, setup: Setup) -> Any:
    config = setup.config
    spec = config.specs.get(role)
    if spec is None:
        raise HarnessError(f"benchmark '{config.benchmark.name}' has no scorer")
    loading = spec.loading(setup.paths.get(role, {}), setup.device)
    if role is Role.METRIC:
        return Metrics.load(loading, metric_names(spec))
    if role is Role.GENERATOR:
        generator = GENERATORS.get(spec.kind).load(loading)
        if spec.compile:
            generator.compile()
        return generator
    benchmark = build(BENCHMARKS.get(config.benchmark.name), config.benchmark.options, flag="-B")
    if role is Role.JUDGE:
        return JUDGES.get(spec.kind).load(loading, benchmark)
    return benchmark.load_scorer(loading)


def _unpacked(request: Request[Pixels]) -> Request:
    decoded = {name: _decoded(image) for name, image in request.images.items()}
    start = _unpacked(request.start) if request.start is not None else None
    return cast(Request, replace(request, images=decoded, start=start))  # type: ignore[arg-type]


def _decoded(image: Any) -> Image:
    return image if isinstance(image, np.ndarray) else images.decode(image)


def _encoded(image: Image) -> tuple[Any, str]:
    return Png(images.encode(image)), pixel_digest(image)


def _digested(image: Image) -> tuple[Any, str]:
    return np.ascontiguousarray(image), pixel_digest(image)
