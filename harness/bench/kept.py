"""Executors that keep their models from one run to the next: loading is not what is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from harness.engine.executors.inline import InlineExecutor
from harness.engine.worker import Setup
from harness.records import Role


class Loaded(InlineExecutor):
    """All roles in this process."""

    def start(self) -> None:
        """Load what is not loaded."""
        if not self._workers:
            super().start()

    def close(self) -> None:
        """Keep everything."""

    def model(self, role: Role) -> Any:
        """The model itself, for those who do without an engine."""
        return self._workers[role].model


@contextmanager
def actors(setup: Setup, workers: Mapping[Role, int]) -> Iterator[Any]:
    """Ray actors, so many a role; on CUDA each holds a quarter of a GPU.

    The executor's `inside(function, *arguments)` calls a function in the process of an actor that
    is the only one, with the actor itself first.
    """
    import ray

    from harness.engine.executors.ray import Placement, RayExecutor

    class Kept(RayExecutor):
        started = False

        def start(self) -> None:
            if not self.started:
                super().start()
                self.started = True

        def close(self) -> None:
            return

        def release(self) -> None:
            super().close()

        def inside(self, function: Callable[..., Any], *arguments: Any) -> Any:
            (slot,) = self._slots
            return ray.get(slot.actor.__ray_call__.remote(function, *arguments))

    gpus = 0.25 if setup.device.startswith("cuda") else 0.0
    kept = Kept(setup, {role: Placement(number, gpus) for role, number in workers.items()})
    kept.start()
    try:
        yield kept
    finally:
        kept.release()
