"""Runs jobs on Ray actors, one model each, pinned to the GPUs that Ray gives them.

The executor replaces dead actors itself instead of using Ray's restarts: then a crash, a
`sys.exit` in a plug-in and a lost node are one case, each death is counted, and the batch that
was running comes back to the engine as an outcome. Batches that merely waited behind it move to
the replacement and are not held against anybody.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from harness.engine.devices import device_name
from harness.engine.executors.base import QUEUE_DEPTH
from harness.engine.jobs import Answer, Item, Job, Outcome
from harness.engine.worker import Setup, Worker
from harness.errors import HarnessError
from harness.records import Role

MAX_LOAD_FAILURES = 3
"""Deaths in a row of an actor that never got as far as loading its model."""


@dataclass(frozen=True)
class Placement:
    """How many actors a role has and what each holds.

    Attributes:
        workers: Number of actors.
        gpus: GPUs each holds; a fraction lets actors share one.
        cpus: CPU cores each holds.
    """

    workers: int = 1
    gpus: float = 0.0
    cpus: float = 0.0


class _Actor:
    """The process on the other side. Loads in a method, so that its errors are ordinary ones."""

    def __init__(self, role: Role, setup: Setup) -> None:
        self._role = role
        self._setup = setup
        self._worker: Worker | None = None

    def load(self) -> dict[str, Any]:
        """Load the model; says where this actor is."""
        self._worker = Worker(self._role, self._setup)
        context = ray.get_runtime_context()
        return {
            "pid": os.getpid(),
            "node": context.get_node_id(),
            "gpus": context.get_accelerator_ids().get("GPU", []),
            "cuda_visible_devices": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
            "device": self._setup.device,
            "device_name": device_name(self._setup.device),
        }

    def run(self, items: Sequence[Item]) -> list[Answer]:
        """Run one batch."""
        assert self._worker is not None
        return self._worker.run(items)


@dataclass
class _Slot:
    """One actor's place. When the actor dies, its successor takes the place over."""

    name: str
    role: Role
    actor: Any = None
    loading: Any = None
    jobs: deque[Job] = field(default_factory=deque)
    refs: deque[Any] = field(default_factory=deque)
    load_failures: int = 0
    given: int = 0
    where: dict[str, Any] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        return self.loading is None


class RayExecutor:
    """Roles on Ray actors. Has state: the actors and the jobs they hold.

    Args:
        setup: What a worker needs to load its model.
        placement: Actors for each role.
        address: An existing cluster's, or None for one on this machine.
    """

    serial = False

    def __init__(
        self, setup: Setup, placement: Mapping[Role, Placement], *, address: str | None = None
    ) -> None:
        self._setup = setup
        self._placement = dict(placement)
        self._address = address
        self._owns_cluster = False
        self._slots: list[_Slot] = []
        self._deaths = 0

    def start(self) -> None:
        """Connect, create the actors and load the models.

        Raises:
            HarnessError: No cluster, too few resources, or a model that cannot be loaded.
        """
        self._owns_cluster = connect(self._address)
        self._check_resources()
        for role, placement in self._placement.items():
            for number in range(placement.workers):
                slot = _Slot(f"{role}-{number}", role)
                self._slots.append(slot)
                self._fill(slot)
        for slot in self._slots:
            while not slot.ready:
                self._loaded(slot)

    def free(self, role: Role, *, idle: bool = True) -> int:
        """Idle actors of a role, or all places in their queues."""
        depth = 1 if idle else QUEUE_DEPTH
        slots = [slot for slot in self._slots if slot.role is role and slot.ready]
        return sum(max(0, depth - len(slot.jobs)) for slot in slots)

    def submit(self, job: Job) -> None:
        """Give the job to the role's least busy actor; among equals, to the least used.

        Judges and scorers are rarely all busy. Were it always the first idle one, the
        generators on its GPU would get less of it than the others of theirs.
        """
        slots = [slot for slot in self._slots if slot.role is job.role and slot.ready]
        slot = min(slots, key=lambda s: (len(s.jobs), s.given))
        slot.given += 1
        slot.jobs.append(job)
        slot.refs.append(slot.actor.run.remote(job.items))

    def wait(self, timeout: float) -> Sequence[Outcome]:
        """Outcomes that are there, after at most `timeout` seconds."""
        owners = {ref: slot for slot in self._slots for ref in slot.refs}
        owners |= {slot.loading: slot for slot in self._slots if slot.loading is not None}
        if not owners:
            return ()
        ready, _ = ray.wait(list(owners), num_returns=1, timeout=timeout)
        ready, _ = ray.wait(list(owners), num_returns=len(owners), timeout=0) if ready else ((), ())
        outcomes: list[Outcome] = []
        for ref in ready:
            slot = owners[ref]
            if ref is slot.loading:
                self._loaded(slot)
            elif slot.refs and ref is slot.refs[0]:
                outcomes.append(self._collect(slot))
        return outcomes

    def describe(self) -> dict[str, Any]:
        """Which actor is where, on which GPUs."""
        return {
            "executor": "ray",
            "workers": {slot.name: slot.where for slot in self._slots},
            "deaths": self._deaths,
        }

    def close(self) -> None:
        """Kill the actors; shut the cluster down if this executor started it."""
        for slot in self._slots:
            if slot.actor is not None:
                ray.kill(slot.actor)
        self._slots.clear()
        if self._owns_cluster:
            ray.shutdown()

    def _check_resources(self) -> None:
        have = ray.cluster_resources()
        for name, unit in (("GPU", "gpus"), ("CPU", "cpus")):
            wanted = sum(p.workers * getattr(p, unit) for p in self._placement.values())
            if wanted > have.get(name, 0.0) + 1e-6:
                raise HarnessError(
                    f"the workers need {wanted:g} {name}s, the cluster has {have.get(name, 0):g}",
                    "ask for fewer --workers or smaller --gpu-share, or add nodes",
                )

    def _fill(self, slot: _Slot) -> None:
        """Put a new actor into a slot and have it load."""
        placement = self._placement[slot.role]
        # Ray needs its own decorator; the class itself stays plain so that it can be typed.
        actor_class = ray.remote(_Actor).options(
            num_cpus=placement.cpus,
            num_gpus=placement.gpus,
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy="SPREAD",
        )
        slot.actor = actor_class.remote(slot.role, replace(self._setup))
        slot.loading = slot.actor.load.remote()

    def _loaded(self, slot: _Slot) -> None:
        """Take notice of a model that is loaded, or of an actor that died on the way."""
        try:
            slot.where = ray.get(slot.loading)
        except RayActorError as error:
            self._deaths += 1
            slot.load_failures += 1
            if slot.load_failures >= MAX_LOAD_FAILURES:
                raise HarnessError(
                    f"worker {slot.name} died {slot.load_failures} times while loading its "
                    f"model: {_first_line(error)}",
                    "the machine may be out of memory; ask for fewer --workers",
                ) from error
            time.sleep(0.2 * slot.load_failures)
            self._fill(slot)
            return
        except RayTaskError as error:
            cause = error.cause
            if isinstance(cause, HarnessError):
                raise type(cause)(cause.message, cause.hint) from error
            raise HarnessError(
                f"worker {slot.name} cannot load its model: {type(cause).__name__}: {cause}"
            ) from error
        slot.loading = None
        slot.load_failures = 0
        for job in slot.jobs:
            slot.refs.append(slot.actor.run.remote(job.items))

    def _collect(self, slot: _Slot) -> Outcome:
        """The outcome of a slot's oldest job."""
        job, ref = slot.jobs.popleft(), slot.refs.popleft()
        try:
            return Outcome(job, slot.name, answers=tuple(ray.get(ref)))
        except RayActorError as error:
            self._deaths += 1
            slot.refs.clear()
            self._fill(slot)
            return Outcome(job, slot.name, error=f"worker died: {_first_line(error)}", crashed=True)
        except RayTaskError as error:
            cause = error.cause
            return Outcome(job, slot.name, error=f"{type(cause).__name__}: {cause}")
        except RayError as error:
            return Outcome(job, slot.name, error=f"{type(error).__name__}: {_first_line(error)}")


def connect(address: str | None) -> bool:
    """Connect to a cluster, or start one on this machine.

    Args:
        address: The cluster's, or None for one of our own.

    Returns:
        Whether a connection was made (False if there was one already).

    Raises:
        HarnessError: There is no cluster at the address.
    """
    if ray.is_initialized():
        return False
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray would have its workers step back behind every other process of the machine: with some at
    # work beside it, the miniature made a quarter fewer images than in a process of its own.
    os.environ.setdefault("RAY_worker_niceness", "0")
    try:
        ray.init(
            address=address,
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level="error",
        )
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        raise HarnessError(
            f"cannot reach a Ray cluster at {address or 'this machine'}: {_first_line(error)}",
            "`ray status` shows whether one runs; leave --address out to start one here",
        ) from error
    return True


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
