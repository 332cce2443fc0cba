"""Which devices there are to work on."""

from __future__ import annotations


def has_gpu(address: str | None) -> bool:
    """Whether there is a CUDA GPU: on the cluster at an address, else on this machine.

    Raises:
        HarnessError: The cluster cannot be reached.
    """
    if address is not None:
        import ray

        from harness.engine.executors.ray import connect

        connect(address)
        return float(ray.cluster_resources().get("GPU", 0)) > 0
    import torch

    return torch.cuda.is_available()
