"""Memory that a process holds on its device, and memory that it may hold."""

from __future__ import annotations

import contextlib
import resource
from pathlib import Path

import psutil

CGROUP, STATUS = Path("/sys/fs/cgroup"), Path("/proc/self/status")


def memory_held(device: str) -> int:
    """The most bytes held so far: of the GPU, or of this process on a CPU."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_reserved(device))
    with contextlib.suppress(OSError, ValueError, IndexError):
        # Where Linux says it; there `ru_maxrss` begins with what the parent process held.
        status = STATUS.read_text(encoding="utf-8")
        return int(status.partition("VmHWM:")[2].split(maxsplit=1)[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def memory_limit(device: str, share: float) -> float:
    """The most bytes that this process may come to hold.

    Args:
        device: A torch device.
        share: Of the GPU's memory; on a CPU of what is free now, beside what is held already.
    """
    if device.startswith("cuda"):
        import torch

        return share * float(torch.cuda.get_device_properties(device).total_memory)
    return memory_held(device) + share * available_memory()


def available_memory() -> float:
    """Bytes that a new process of this machine, or of its container, could still have.

    A container's limit is known for control groups of the second kind.
    """
    available = float(psutil.virtual_memory().available)
    with contextlib.suppress(OSError, ValueError):
        most = (CGROUP / "memory.max").read_text(encoding="ascii").strip()
        used = (CGROUP / "memory.current").read_text(encoding="ascii").strip()
        if most != "max":
            available = min(available, max(0.0, float(int(most) - int(used))))
    return available
