"""Timing on a device: medians, peak memory, CUDA graphs, attention backends, recorded calls."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from harness.records import Image
from tests.perf.gpu.parts import Row
from tests.sizes import Scale

REPEATS = 3
"""Times a measurement is taken, after one to warm up; the median counts."""


def timed(
    row: Row, call: Callable[[], Any], device: str, images: int, repeats: int = REPEATS
) -> None:
    """Fill in how long a call takes, after one that warms up (and compiles)."""
    row["first_seconds"] = seconds_of(call, device)
    times = [seconds_of(call, device) for _ in range(repeats)]
    row["seconds"] = statistics.median(times)
    row["slowest_seconds"] = max(times)
    row["images_per_second"] = images / row["seconds"]


def seconds_of(call: Callable[[], Any], device: str) -> float:
    """Return the seconds that a call takes, its kernels included."""
    synchronize(device)
    started = time.perf_counter()
    call()
    synchronize(device)
    return time.perf_counter() - started


def synchronize(device: str) -> None:
    """Wait until a device has done all it was given."""
    if device != "cpu":
        import torch

        torch.cuda.synchronize(device)


@contextmanager
def peak(device: str, row: Row) -> Iterator[None]:
    """Fill in the most memory that was allocated on the GPU meanwhile; nothing on a CPU."""
    if device == "cpu":
        yield
        return
    import torch

    torch.cuda.reset_peak_memory_stats(device)
    yield
    row["memory_bytes"] = int(torch.cuda.max_memory_allocated(device))


def graphed(call: Callable[[], Any], device: str) -> Callable[[], Any]:
    """Return the replay of a call captured as a CUDA graph."""
    import torch

    if device == "cpu":
        raise RuntimeError("there are no CUDA graphs on a CPU")
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        for _ in range(REPEATS):
            call()
    torch.cuda.current_stream(device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def attention_backends() -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield the names of attention backends, each with what switches to it."""
    from functools import partial

    from torch.nn.attention import SDPBackend, sdpa_kernel

    for name in ("FLASH_ATTENTION", "EFFICIENT_ATTENTION", "CUDNN_ATTENTION", "MATH"):
        yield f"attention {name.lower()}", partial(sdpa_kernel, [getattr(SDPBackend, name)])


@contextmanager
def recorded_calls(module: Any) -> Iterator[list[tuple[tuple[Any, ...], dict[str, Any]]]]:
    """Collect the arguments that a module is called with."""
    seen: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    handle = module.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append((args, kwargs)), with_kwargs=True
    )
    try:
        yield seen
    finally:
        handle.remove()


def replayed(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[], Any]:
    """Return a call of a module with recorded arguments."""
    return lambda: module(*args, **kwargs)


def bound(function: Callable[..., Any], *args: Any) -> Callable[[], Any]:
    """Return a call of a function with these arguments."""
    return lambda: function(*args)


def brief(request: Any) -> Any:
    """Return a request of two steps, which runs all networks and takes little time."""
    return replace(request, settings={**request.settings, "num_inference_steps": 2})


def random_image(scale: Scale, seed: int = 0) -> Image:
    """Return an image of noise."""
    shape = (scale.side, scale.side, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def largest_difference(one: Any, other: Any) -> float:
    """Return the largest difference; 0 means equal bits."""
    return float(np.abs(one.astype(np.float64) - other.astype(np.float64)).max())
