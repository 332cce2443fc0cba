"""The devices that there are to work on, their names, and the memory of processes on them."""

from __future__ import annotations

import contextlib
import platform
import resource
from pathlib import Path

import psutil

from harness.errors import UsageError

CPU_INFO = Path("/proc/cpuinfo")
"""Where Linux describes the processor."""

CGROUP, STATUS = Path("/sys/fs/cgroup"), Path("/proc/self/status")


def has_gpu(address: str | None) -> bool:
    """Return whether there is a CUDA GPU: on the cluster at an address, else on this machine.

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


def chosen_device(device: str, address: str | None = None) -> str:
    """Return "cuda" or "cpu"; "auto" is a GPU where there is one.

    Raises:
        UsageError: A GPU is asked for, and there is none.
        HarnessError: The cluster cannot be reached.
    """
    has_cuda = device != "cpu" and has_gpu(address)
    if device == "cuda" and not has_cuda:
        raise UsageError("no CUDA device was found", "use --device cpu, or a cluster with GPUs")
    return "cuda" if has_cuda else "cpu"


def device_name(device: str) -> str:
    """The product name of a GPU, or of this machine's processor."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    return _processor("model name") or platform.processor() or platform.machine()


BFLOAT16 = {"amx_bf16": "AMX", "avx512_bf16": "AVX-512 BF16", "bf16": "Arm BF16"}
"""Processor flags of instructions that multiply bfloat16 numbers, and their names."""


def native_bfloat16() -> str | None:
    """Return with which instructions this machine's processor multiplies bfloat16 numbers.

    Returns:
        Their names; "" for one that has none; None where the system does not say.
    """
    flags = (_processor("flags") or _processor("Features")).split()
    return ", ".join(name for flag, name in BFLOAT16.items() if flag in flags) if flags else None


def _processor(field: str) -> str:
    """Return a field of the first processor as Linux describes it; "" where it does not."""
    try:
        lines = CPU_INFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    values = (line.partition(":")[2].strip() for line in lines if line.startswith(field))
    return next(values, "")


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
