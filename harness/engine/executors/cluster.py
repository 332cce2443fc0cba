"""Ray's cluster as a whole: reach it, ask what it has, tell which of its machines are alive."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import PathFinder
from pathlib import Path

import ray
from ray.exceptions import OutOfMemoryError, RayError

import harness
from harness.engine.executors.address import LOCAL, reachable
from harness.errors import HarnessError, first_line


def connect(address: str | None) -> bool:
    """Connect to a cluster, or start one on this machine.

    Args:
        address: The cluster's; None for the one of this machine, or one of our own.

    Returns:
        Whether a connection was made (False if there was one already).

    Raises:
        UsageError: It is no address.
        HarnessError: There is no cluster at the address; known within seconds. Or its workers
            would import another program of this one's name.
    """
    if ray.is_initialized():
        return False
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray would have its workers step back behind every other process of the machine: with some at
    # work beside it, the miniature made a quarter fewer images than in a process of its own.
    os.environ.setdefault("RAY_worker_niceness", "0")
    place = reachable(address)
    _check_working_directory()
    try:
        with _own_signals():
            ray.init(
                address=place,
                include_dashboard=False if place == LOCAL else None,
                log_to_driver=False,
                logging_level="error",
            )
    except (OSError, RuntimeError, ValueError, RayError) as error:
        where = "on this machine" if place == LOCAL else f"at {place}"
        raise HarnessError(
            f"cannot use a Ray cluster {where}: {first_line(error)}",
            "`ray status` shows whether one runs, and of which version; leave --address out to "
            "start one here",
        ) from error
    return True


def _check_working_directory() -> None:
    """Refuse one with another `harness`, which Ray's workers would import: they search it first."""
    spec = PathFinder.find_spec("harness", [os.getcwd()])
    if spec is not None and spec.origin not in (None, str(Path(harness.__file__))):
        raise HarnessError(
            f"Ray's workers would import {spec.origin} instead of this program",
            "rename it, start from another directory, or use --executor inline",
        )


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep the handler of SIGTERM, in whose place Ray puts its own: it ends the run well."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if callable(before) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def check_resources(gpus: float, cpus: float) -> None:
    """Refuse what the cluster as a whole could never give.

    Raises:
        HarnessError: It has fewer.
    """
    have = ray.cluster_resources()
    for name, needed in (("GPU", gpus), ("CPU", cpus)):
        if needed > have.get(name, 0.0) + 1e-6:
            raise HarnessError(
                f"the workers need {needed:g} {name}s, the cluster has {have.get(name, 0):g}",
                "ask for fewer --workers or smaller --gpu-share, or add nodes",
            )


def is_lost(node: str) -> bool:
    """Return whether a node has left the cluster, as far as the cluster knows yet."""
    try:
        return any(n["NodeID"] == node and not n["Alive"] for n in ray.nodes())
    except RayError:
        return False


def died_of(error: RayError) -> str:
    """Return why a process was lost as far as Ray says, without ids and addresses."""
    if short_of_memory(error):
        return "its machine ran out of memory"
    return first_line(error).partition(". ")[0].rstrip(".")


def short_of_memory(error: RayError) -> bool:
    """Return whether Ray killed a process to save its machine; of an actor only the words tell."""
    return isinstance(error, OutOfMemoryError) or "running low on memory" in str(error)
