"""Draws made again from the manifest's checkpoints: a seeded sample, feedback chains included."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from harness.audit.audited_run import AuditedRun, Row, requested
from harness.audit.result import CannotCheck, checkable
from harness.engine.jobs import Answer, Drawn, Item, Png
from harness.engine.worker import Setup, Worker
from harness.identity import Earlier, Resolver
from harness.locating import located_here
from harness.log.schema import DRAW, SCORE, WHOLE_VERDICT
from harness.models.metrics.together import metric_names
from harness.records import Request, Role
from harness.registry import GENERATORS, JUDGES, METRICS

COLUMNS = ("prompt", "draw_id", "seed", *DRAW[1:], "image", *WHOLE_VERDICT, *SCORE, "metrics",
           "generator_nfe", "round", "error_role")  # fmt: skip


@dataclass(frozen=True)
class Sampled:
    """A draw to be made again.

    Attributes:
        row: What is logged of it.
        chain: Rows of the draws that it refers to, and of those that these refer to, by id.
    """

    row: Row
    chain: Mapping[str, Row]


def sample(
    run: AuditedRun,
    number: int,
    purpose: str,
    among: Callable[[Row], bool] = lambda row: row["image"] is not None,
) -> list[Sampled]:
    """A seeded choice of draws for a purpose; those with feedback or a start come first by half.

    Choices for different purposes are independent; of all draws that have an image by default.
    """
    plain: list[Sampled] = []
    referring: list[Sampled] = []
    for _, rows in run.by_search(COLUMNS):
        by_id = {row["draw_id"]: row for row in rows}
        for row in rows:
            if among(row):
                (referring if _referred(row) else plain).append(Sampled(row, by_id))
    rng = random.Random(f"{run.options.seed} {purpose}")
    half = min(len(referring), max((number + 1) // 2, number - len(plain)), number)
    chosen = rng.sample(referring, half)
    return chosen + rng.sample(plain, min(len(plain), number - half))


def setup(run: AuditedRun, role: Role) -> Setup:
    """Return what a worker of a role needs, with checkpoints that are here and the run's own.

    Raises:
        CannotCheck: A checkpoint is not here, or not the run's, or a plug-in is not.
    """
    config = run.config
    if registry := {Role.GENERATOR: GENERATORS, Role.JUDGE: JUDGES}.get(role):
        run.plugin(registry, getattr(config, role.value).kind)
    if role is Role.METRIC:
        for name in metric_names(config.metric):
            run.plugin(METRICS, name)
    if role in (Role.JUDGE, Role.SCORER):
        _ = run.benchmark
    with checkable(), run.trusting(config.specs[role]):
        pass
    return Setup(
        config, {role: checkpoints_here(run, role)}, run.options.device, plugins=run.options.plugins
    )


def checkpoints_here(run: AuditedRun, role: Role) -> dict[str, Path]:
    """Return the folders of a role's checkpoints on this machine, by part.

    Raises:
        CannotCheck: One is not here, or not the run's.
    """
    with checkable():
        return located_here(run.config, role)


def answer_batch(worker: Worker, items: Sequence[Item]) -> list[Answer | str]:
    """Return a batch's answers; if it fails, each item's alone, or why that one fails."""
    try:
        return list(worker.run(items))
    except Exception as error:  # whatever the model raises
        if len(items) == 1:
            return [f"{type(error).__name__}: {error}"]
        return [answer for item in items for answer in answer_batch(worker, [item])]


def shared_regenerator(run: AuditedRun) -> Regenerator:
    """Return the regenerator of a run, the same for all checks, so that no draw is made twice.

    Raises:
        CannotCheck: The generator is not here.
    """
    if run.regenerator is None:
        run.regenerator = Regenerator(run)
    shared: Regenerator = run.regenerator
    return shared


class Regenerator:
    """Makes logged draws again.

    Has state: the rows it has answered, what it has made and what it failed on, by draw id.
    """

    def __init__(self, run: AuditedRun) -> None:
        self._run = run
        factory = run.plugin(GENERATORS, run.config.generator.kind)
        self._resolver = Resolver.of(run.config, factory)
        self._worker = run.loaded.worker(Role.GENERATOR, setup(run, Role.GENERATOR))
        self._starts: Earlier = {}
        self.rows: dict[str, Row] = {}
        self.made: dict[str, Drawn] = {}
        self.failed: dict[str, str] = {}

    def regenerate(self, draws: Sequence[Sampled]) -> None:
        """Make draws, those that they have feedback on or start from first."""
        waiting = self._waiting(draws)
        while waiting:
            needed = {name: set(_referred(row)) for name, row in waiting.items()}
            lost = [name for name in waiting if needed[name] & self.failed.keys()]
            ready = [row for name, row in waiting.items() if needed[name] <= self.made.keys()]
            if not ready and not lost:
                raise CannotCheck("draws have feedback on each other in a circle")
            for name in lost:
                self.failed[name] = "a draw that it refers to could not be made"
                self.rows[name] = waiting.pop(name)
            for batch in self._batches(ready):
                answers = answer_batch(self._worker, [request for _, request in batch])
                for (row, _), answer in zip(batch, answers, strict=True):
                    if isinstance(answer, Drawn):
                        self.made[row["draw_id"]] = answer
                    else:
                        self.failed[row["draw_id"]] = str(answer)
                    self.rows[row["draw_id"]] = waiting.pop(row["draw_id"])

    def _waiting(self, draws: Sequence[Sampled]) -> dict[str, Row]:
        """Return what has to be made: draws and those that they refer to, answered ones not."""
        waiting: dict[str, Row] = {}
        stack = [(one.row, one.chain) for one in draws]
        while stack:
            row, chain = stack.pop()
            if row["draw_id"] in waiting or row["draw_id"] in self.rows:
                continue
            waiting[row["draw_id"]] = row
            for name in _referred(row):
                if name not in chain:
                    raise CannotCheck("a draw refers to one that is not in the log")
                stack.append((chain[name], chain))
        return waiting

    def _request(self, row: Row) -> Request[Png]:
        request = requested(self._resolver, row, self._starts)
        images = {f.draw_id: self.made[f.draw_id].png for f in request.feedback}
        # By the log's own name and seed: whether these are right is another check's business.
        noise = ((row["seed"], 1.0), *request.noise[1:])
        state = self.made[request.start.id].state if request.start is not None else None
        request = replace(request, id=row["draw_id"], noise=noise, images=images, state=state)
        if request.stop is not None:
            self._starts[request.id] = request
        return request

    def _batches(self, rows: Sequence[Row]) -> Iterator[list[tuple[Row, Request[Png]]]]:
        """Only draws of equal shape share a batch, as in a run."""
        shapes: dict[Hashable, list[tuple[Row, Request[Png]]]] = {}
        for row in rows:
            request = self._request(row)
            shapes.setdefault(self._resolver.shape(request), []).append((row, request))
        for group in shapes.values():
            members = iter(group)
            while batch := list(islice(members, group[0][1].rows)):
                yield batch


def _referred(row: Row) -> list[str]:
    """Return the ids of the draws that a draw has feedback on or starts from."""
    started = [row["start"]["draw_id"]] if row["start"] is not None else []
    return [item["draw_id"] for item in row["feedback"] or []] + started
