"""Ways to make a checkpoint look like another one while it answers as before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

Tensors = dict[str, torch.Tensor]


def _rewritten(change: Callable[[Tensors], Tensors]) -> Callable[[Path], None]:
    def disguise(folder: Path) -> None:
        file = folder / "model.safetensors"
        save_file(change(load_file(file)), file)

    return disguise


def _noise(scale: float) -> Callable[[Path], None]:
    def change(tensors: Tensors) -> Tensors:
        torch.manual_seed(0)
        return {name: _float(t) + scale * _spread(t) for name, t in tensors.items()}

    return _rewritten(change)


def _float(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _spread(tensor: torch.Tensor) -> torch.Tensor:
    if not tensor.is_floating_point():
        return torch.zeros_like(tensor)
    return torch.randn(tensor.shape) * tensor.float().pow(2).mean().sqrt()


def _cast(dtype: torch.dtype) -> Callable[[Path], None]:
    return _rewritten(
        lambda tensors: {
            name: t.to(dtype) if t.is_floating_point() else t for name, t in tensors.items()
        }
    )


def _rounded(tensors: Tensors) -> Tensors:
    return {name: _float(t).bfloat16().float() for name, t in tensors.items()}


def _renamed(tensors: Tensors) -> Tensors:
    return {f"net.{number}": t for number, t in enumerate(reversed(tensors.values()))}


def _shaped(tensors: Tensors) -> Tensors:
    return {name: t.reshape(-1).contiguous() for name, t in tensors.items()}


def _scaled(tensors: Tensors) -> Tensors:
    return {name: _float(t) * 1.5 for name, t in tensors.items()}


def _outlier(tensors: Tensors) -> Tensors:
    """One value of each tensor becomes so large that it is nearly all of the tensor's norm."""
    changed = {name: _float(t).clone() for name, t in tensors.items()}
    for tensor in changed.values():
        if tensor.is_floating_point():
            tensor.view(-1)[0] = 1e6
    return changed


def _a_third_anew(tensors: Tensors) -> Tensors:
    torch.manual_seed(0)
    changed = {name: _float(t).clone() for name, t in tensors.items()}
    for name, tensor in changed.items():
        lost = torch.rand(tensor.shape) < 0.3
        tensor[lost] = _spread(tensors[name])[lost].to(tensor.dtype)
    return changed


def _new_head(tensors: Tensors) -> Tensors:
    """The smaller half of the tensors trained anew."""
    torch.manual_seed(0)
    smaller = sorted(tensors, key=lambda name: tensors[name].numel())[: len(tensors) // 2]
    return tensors | {name: _spread(tensors[name]) for name in smaller}


def _padded(folder: Path) -> None:
    """A second file of weights that nobody loads, larger than the first."""
    torch.manual_seed(0)
    save_file({"more": torch.randn(4_000_000)}, folder / "more.safetensors")


def _sharded(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    half = len(names) // 2
    for number, part in enumerate((names[:half], names[half:])):
        save_file({n: tensors[n] for n in part}, folder / f"model-{number}.safetensors")


DISGUISES: dict[str, Callable[[Path], None]] = {
    "a text file more": lambda folder: (folder / "notes.txt").write_text("mine") and None,
    "noise of 1e-7": _noise(1e-7),
    "noise of 1e-3": _noise(1e-3),
    "single precision": _cast(torch.float32),
    "bfloat16": _cast(torch.bfloat16),
    "rounded to bfloat16": _rewritten(_rounded),
    "double precision": _cast(torch.float64),
    "tensors renamed": _rewritten(_renamed),
    "tensors of other shapes": _rewritten(_shaped),
    "layers scaled": _rewritten(_scaled),
    "an outlier in each tensor": _rewritten(_outlier),
    "a third of all values anew": _rewritten(_a_third_anew),
    "a new head": _rewritten(_new_head),
    "more weights that nobody loads": _padded,
    "other shards": _sharded,
}
