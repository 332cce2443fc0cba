"""Compiled blocks: the repeated parts of a network, each compiled for one batch shape at a time.

Compiled kernels differ from the usual ones in a row's last bits, so whether a model is compiled is
part of its identity. A row's bits must not depend on what ran before it either: every shape is
compiled for itself (by default torch compiles a general kernel once it meets a second shape), and
a shape too many is an error (by default torch goes on with the usual kernels).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from harness.errors import HarnessError, first_line

if TYPE_CHECKING:
    from torch import nn

SHAPES = 256
"""Batch shapes that one block may be compiled for: rows, context lengths and image sizes."""


def compile_blocks(*networks: nn.Module) -> None:
    """Compile the repeated blocks of networks, in place; the work is done when a shape first comes.

    Raises:
        HarnessError: There is no compiler for the networks' device.
    """
    import torch

    config = torch._dynamo.config
    config.recompile_limit = config.accumulated_recompile_limit = SHAPES
    config.fail_on_recompile_limit_hit = True
    for network in networks:
        check_compiler(next(network.parameters()).device.type)
        for block in repeated(network):
            block.compile(dynamic=False)


def repeated(network: nn.Module) -> Iterator[nn.Module]:
    """Yield the blocks of a network's lists of like blocks, the outermost lists only."""
    from torch import nn

    for child in network.children():
        if isinstance(child, nn.ModuleList) and len({type(block) for block in child}) == 1:
            yield from child
        else:
            yield from repeated(child)


def check_compiler(device: str) -> None:
    """Refuse a kind of device for which no compiler of kernels is installed.

    Raises:
        HarnessError: There is none.
    """
    if device == "cuda":
        from torch.utils._triton import has_triton

        if not has_triton():
            raise HarnessError(
                "models cannot be compiled for this GPU: Triton is not installed, or does not "
                "know it",
                "leave --compile out, or install a torch with Triton",
            )
        return
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        get_cpp_compiler()
    except Exception as error:  # its class differs between versions
        raise HarnessError(
            f"models cannot be compiled for this processor: {first_line(error)}",
            "install a C++ compiler such as g++, or leave --compile out",
        ) from error
