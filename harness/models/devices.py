"""Devices and number formats: torch's global switches, set once a worker, to the exact side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import UsageError

if TYPE_CHECKING:
    import torch


def prepare(device: str) -> torch.device:
    """Check that a device is there, and set torch's global switches for repeatable results.

    On a GPU: no cuDNN autotuning (it may choose another kernel for the same shape in the next
    process), deterministic cuDNN kernels, and no TF32, so that float32 means float32.

    Raises:
        UsageError: No such device on this machine.
    """
    import torch

    try:
        parsed = torch.device(device)
    except RuntimeError as error:
        raise UsageError(f"'{device}' is no torch device", "e.g. cpu, cuda, cuda:1") from error
    if parsed.type == "cuda":
        count = torch.cuda.device_count()
        if (parsed.index or 0) >= count:
            raise UsageError(
                f"device '{device}' is not there: torch sees {count} GPUs",
                "check nvidia-smi and CUDA_VISIBLE_DEVICES, or use --device cpu",
            )
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
    return parsed
