"""Runs jobs on Ray actors, one model each, pinned to the GPUs that Ray gives them.

The executor replaces dead actors itself instead of using Ray's restarts: then a crash, a
`sys.exit` in a plug-in, a batch past its deadline and a lost node are one case, each death is
counted, and the batch that was running comes back to the engine as an outcome. Batches that
merely waited behind it go to whoever is free first and are not held against anybody. A replacement
that finds no place in the cluster is waited for in the background, for as long as others of its
role live.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray.exceptions import NodeDiedError, RayError, RayTaskError

from harness.engine.executors.actor import Slot
from harness.engine.executors.base import QUEUE_DEPTH, Executor, Patience
from harness.engine.executors.cluster import check_resources, connect, is_lost, short_of_memory
from harness.engine.executors.pixels import GENERATORS_A_WRITER, LOST, Writers, is_lost_image
from harness.engine.jobs import BatchResult, Failed, Job, Remote, by_role, without_pixels
from harness.engine.worker import Setup
from harness.errors import Failure, HarnessError, first_line
from harness.log.location import Location
from harness.records import Role

MAX_LOAD_FAILURES = 3
"""Deaths in a row of an actor that never got as far as loading its model."""


@dataclass(frozen=True)
class Placement:
    """The actors of a role: their number and what each holds.

    Attributes:
        gpus: GPUs each holds; a fraction lets actors share one.
        cpus: CPU cores each holds.
    """

    workers: int = 1
    gpus: float = 0.0
    cpus: float = 0.0


class RayExecutor(Executor):
    """Roles on Ray actors. Has state: the actors and the jobs they hold.

    Args:
        address: An existing cluster's, or None for one on this machine.
        images: The run's folder of images. If it is given they stay where they are made, are
            written from there, and the driver holds references; else they travel through it.
    """

    def __init__(
        self,
        setup: Setup,
        placement: Mapping[Role, Placement],
        *,
        address: str | None = None,
        patience: Patience | None = None,
        images: Location | None = None,
    ) -> None:
        self._setup = setup
        self._placement = dict(placement)
        self._address = address
        self._patience = patience or Patience()
        self._owns_cluster = False
        self._writers = None if images is None else Writers(images, self._writers_number())
        self._starting = False
        self._slots: list[Slot] = []
        self._moving: dict[Role, deque[Job]] = {role: deque() for role in Role}
        self._bare_since: dict[Role, float] = {}
        self._deaths: Counter[tuple[Role, Failure]] = Counter()
        self._given_up: dict[str, str] = {}

    def start(self) -> None:
        """Connect, create the actors and load the models.

        Goes on with fewer workers than asked for if others hold the cluster's GPUs; these join
        when there is a place for them.
        """
        self._owns_cluster = connect(self._address)
        if self._writers is not None:
            self._writers.start()
        placements = self._placement.values()
        check_resources(
            gpus=sum(p.workers * p.gpus for p in placements),
            cpus=sum(p.workers * p.cpus for p in placements),
        )
        for role, placement in self._placement.items():
            for number in range(placement.workers):
                slot = Slot(f"{role}-{number}", role, by_reference=self._writers is not None)
                self._slots.append(slot)
                self._fill(slot)
        started, self._starting = time.monotonic(), True
        while not self._complete(patient=time.monotonic() - started < self._patience.place):
            self.wait(0.5)
        self._starting = False

    def free(self, role: Role, *, idle: bool = True) -> int:
        """Idle actors of a role, or all places in their queues."""
        writing = self._writers.batches if self._writers is not None else 0
        if role is Role.GENERATOR and writing > QUEUE_DEPTH * len(self._ready(role)):
            return 0  # images that wait to be written are memory: a slow disk is waited for
        depth = 1 if idle else QUEUE_DEPTH
        return sum(max(0, depth - len(slot.jobs)) for slot in self._ready(role))

    def submit(self, job: Job) -> None:
        """Give the job to the role's least busy actor.

        Among equals, to one that has encoded the images its feedback is about, then to the least
        used: were it always the first idle one, the generators on its GPU would get less of it
        than the others of theirs, since judges and scorers are rarely all busy.
        """
        min(
            self._ready(job.role),
            key=lambda slot: (len(slot.jobs), -slot.has_seen(job), slot.given),
        ).give(job)

    def write(self, digest: str, image: Remote) -> None:
        """Store an image once more, and wait for it."""
        assert self._writers is not None
        self._writers.write(digest, image)

    def image(self, digest: str, *, check: bool) -> Remote | None:
        """Return a reference to a stored image; None where images travel through the driver."""
        return None if self._writers is None else self._writers.read(digest, check=check)

    def wait(self, timeout: float) -> Sequence[BatchResult]:
        """Outcomes that are there, after at most `timeout` seconds."""
        owners = {ref: slot for slot in self._slots for ref in slot.awaited}
        awaited = [*owners, *(self._writers.awaited if self._writers is not None else ())]
        if not awaited:
            return ()
        ready, _ = ray.wait(awaited, num_returns=1, timeout=timeout, fetch_local=False)
        if ready:
            ready, _ = ray.wait(awaited, num_returns=len(awaited), timeout=0, fetch_local=False)
        outcomes: list[BatchResult] = []
        for ref in ready:
            slot = owners.get(ref)
            if slot is None:
                assert self._writers is not None
                if (stored := self._writers.acknowledge(ref)) is not None:
                    outcomes.append(stored)
            elif ref is slot.placing:
                self._placed(slot)
            elif ref is slot.loading:
                self._loaded(slot)
            elif slot.jobs and ref is slot.jobs[0][1]:
                outcome = self._collect(slot)
                is_new = outcome.error is None and slot.role is Role.GENERATOR
                if self._writers is not None and is_new:
                    self._writers.store(outcome)
                else:
                    outcomes.append(outcome)
        outcomes += self._stop_overdue()
        self._move()
        self._check_roles()
        return outcomes

    def describe(self) -> dict[str, Any]:
        """Describe which actor is where, on which GPUs, and which were lost."""
        return {
            "executor": "ray",
            "workers": {
                slot.name: {**slot.where, "memory_bytes": slot.memory or None}
                for slot in self._slots
            },
            "deaths": by_role(self._deaths.items()),
            "given_up": dict(self._given_up),
        }

    def close(self) -> None:
        """Kill the actors; shut the cluster down if this executor started it."""
        for slot in self._slots:
            slot.empty()
        self._slots.clear()
        if self._writers is not None:
            self._writers.close()
        if self._owns_cluster:
            ray.shutdown()

    def _writers_number(self) -> int:
        generators = self._placement.get(Role.GENERATOR, Placement()).workers
        return -(-generators // GENERATORS_A_WRITER)

    def _ready(self, role: Role) -> list[Slot]:
        return [slot for slot in self._slots if slot.role is role and slot.ready]

    def _complete(self, *, patient: bool) -> bool:
        """Return whether the start is over: all are ready, or one of each role and nobody loads."""
        if patient or any(slot.is_loading for slot in self._slots):
            return all(slot.ready for slot in self._slots)
        return all(self._ready(role) for role in self._placement)

    def _fill(self, slot: Slot) -> None:
        placement = self._placement[slot.role]
        slot.fill(self._setup, cpus=placement.cpus, gpus=placement.gpus)

    def _placed(self, slot: Slot) -> None:
        """Take notice of an actor that has found a place and begins to load."""
        try:
            slot.node = ray.get(slot.placing)
        except RayError as error:
            self._died_loading(slot, _cause(error, slot), first_line(error))
            return
        slot.placing, slot.since = None, time.monotonic()

    def _loaded(self, slot: Slot) -> None:
        """Take notice of a model that is loaded, or of an actor that died on the way."""
        try:
            slot.where = ray.get(slot.loading)
        except RayTaskError as error:
            cause = error.cause
            failure = (
                cause
                if isinstance(cause, HarnessError)
                else HarnessError(
                    f"worker {slot.name} cannot load its model: {type(cause).__name__}: {cause}"
                )
            )
            self._give_up(slot, failure)
        except RayError as error:
            self._died_loading(slot, _cause(error, slot), first_line(error))
        else:
            slot.placing = slot.loading = None
            slot.load_failures = 0

    def _collect(self, slot: Slot) -> BatchResult:
        """The outcome of a slot's oldest job."""
        job, ref, made = slot.take()
        try:
            answer = ray.get(ref)
        except RayError as error:
            if is_lost_image(error):
                for pixels in without_pixels(job.items)[1]:
                    if isinstance(pixels, Remote):
                        pixels.is_lost = True
                return BatchResult.failed(job, slot.name, LOST)
            if isinstance(error, RayTaskError):
                if isinstance(error.cause, HarnessError):  # an image that is not what its name says
                    raise error.cause from error
                return BatchResult.failed(job, slot.name, Failed.of(error.cause))
            # Ray's own words hold ids and addresses; the row's error is to be the same every time.
            cause = _cause(error, slot)
            return self._died(slot, job, Failed(cause, f"worker died: {cause}"))
        if isinstance(answer, Failed):
            return BatchResult.failed(job, slot.name, answer)
        slot.warm = True
        answers, memory = answer
        slot.memory = max(slot.memory, memory)
        if made:
            answers = [replace(a, png=Remote(ref)) for a, ref in zip(answers, made, strict=True)]
        return BatchResult(job, slot.name, answers=tuple(answers))

    def _died(self, slot: Slot, job: Job, failed: Failed) -> BatchResult:
        self._deaths[slot.role, failed.failure] += 1
        self._moving[slot.role].extend(slot.empty())
        self._fill(slot)
        return BatchResult.failed(job, slot.name, failed, crashed=True)

    def _died_loading(self, slot: Slot, failure: Failure, why: str) -> None:
        self._deaths[slot.role, failure] += 1
        slot.load_failures += failure is not Failure.NODE_LOST
        if slot.load_failures >= MAX_LOAD_FAILURES:
            self._give_up(
                slot,
                HarnessError(
                    f"worker {slot.name} died {slot.load_failures} times while loading its "
                    f"model: {why}",
                    "the machine may be out of memory; ask for fewer --workers",
                ),
            )
            return
        slot.empty()
        time.sleep(0.2 * slot.load_failures)
        self._fill(slot)

    def _give_up(self, slot: Slot, error: HarnessError) -> None:
        """Go on without a worker that cannot load, unless it is a role's last or the start's."""
        if self._starting or not any(s.role is slot.role for s in self._slots if s is not slot):
            raise error
        self._given_up[slot.name] = error.message
        slot.empty()
        self._slots.remove(slot)

    def _stop_overdue(self) -> list[BatchResult]:
        """Kill and replace whoever has passed a deadline."""
        outcomes = []
        for slot in list(self._slots):
            if (limit := slot.overdue(self._patience)) is None:
                continue
            why = f"past its deadline of {limit:g} s"
            if slot.loading is not None:
                self._died_loading(slot, Failure.HANG, why)
            else:
                job, _, _ = slot.take()
                failed = Failed(Failure.HANG, f"worker killed: the batch ran {why}")
                outcomes.append(self._died(slot, job, failed))
        return outcomes

    def _move(self) -> None:
        """Give jobs that waited behind a dead actor to living ones, the idle ones first."""
        for role, jobs in self._moving.items():
            while jobs and self.free(role, idle=False):
                self.submit(jobs.popleft())

    def _check_roles(self) -> None:
        """Stop waiting for a role that nobody is left of."""
        now = time.monotonic()
        for role in self._placement:
            if any(slot.role is role and slot.placing is None for slot in self._slots):
                self._bare_since.pop(role, None)
            elif now - self._bare_since.setdefault(role, now) > self._patience.place:
                begun = "" if self._starting else f"no {role} is left, and "
                raise HarnessError(
                    f"{begun}none of the {role}s found a place in the cluster within "
                    f"{self._patience.place:g} s",
                    "`ray status` shows which nodes and GPUs there are and who holds them",
                )


def _cause(error: RayError, slot: Slot) -> Failure:
    """Return why an actor died, as far as Ray says.

    An actor that is merely unavailable counts as killed, since it is killed before it is replaced.
    """
    if short_of_memory(error):
        return Failure.OUT_OF_MEMORY
    if isinstance(error, NodeDiedError) or "node has died" in str(error) or is_lost(slot.node):
        return Failure.NODE_LOST
    return Failure.KILLED
