"""Which devices there are to work on, and what they are called."""

from __future__ import annotations

import platform
from pathlib import Path


def has_gpu(address: str | None) -> bool:
    """Whether there is a CUDA GPU: on the cluster at an address, else on this machine.

    Raises:
        HarnessError: The cluster cannot be reached.
    """
    if address is not None:
        import ray

        from harness.engine.executors.cluster import connect

        connect(address)
        return float(ray.cluster_resources().get("GPU", 0)) > 0
    import torch

    return torch.cuda.is_available()


def device_name(device: str) -> str:
    """The product name of a GPU, or of this machine's processor."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
