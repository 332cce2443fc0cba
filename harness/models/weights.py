"""The share of one checkpoint's weights in another, whatever files, names and formats they use.

A digest tells equal files; it is dodged by an added file, a renamed tensor, another number format
or noise that no output shows. So tensors are compared by value. Samples of them suffice, since
checkpoints that were trained apart have next to nothing in common; where the samples lie is a
matter of the checkpoints' digests, so that nobody can change just the sampled values. Memory is
bounded by the samples, whatever the size of the files. Permuted channels are not found.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import HarnessError
from harness.models.contents import WEIGHTS, model_files

NEAR = 0.01
"""Of a tensor's median magnitude: values nearer than this are equal. Rounding to bfloat16 moves
them by 0.002 of their own."""

HALF = 0.5
"""Of a tensor's values, from which on it is the same tensor; and of the values of either
checkpoint, from which on they share their weights."""

_BLOCK, _BLOCKS = 64, 16
_FORMATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_MAX_HEADER = 1 << 24
_MAX_TENSORS = 20_000

Samples = Mapping[int, list[np.ndarray[Any, Any]]]
"""By number of values, a sample of each tensor."""


def overlap(first: Path, second: Path, seed: str) -> float | None:
    """Compare the weights of two checkpoint folders, tensor by tensor.

    Names are not looked at, nor are shapes beyond the number of values; tensors count as the same
    up to a factor, which the layer after can take back.

    Args:
        first: A folder.
        second: Another one.
        seed: Decides where the samples lie; a digest of what is compared.

    Returns:
        The share of weights that the two have in common: of the one's or the other's, whichever is
        larger. None if one has no weights to compare.

    Raises:
        HarnessError: A file is damaged or missing.
    """
    samples = [_samples(folder, seed) for folder in (first, second)]
    if not all(samples):
        return None
    one, other = samples
    return max(_share(one, other), _share(other, one))


def _share(one: Samples, other: Samples) -> float:
    """Of the values of one, the share in tensors that the other has."""
    total = sum(size * len(tensors) for size, tensors in one.items())
    common = sum(size * _common(one[size], other[size]) for size in one.keys() & other.keys())
    return common / total


def _common(one: list[np.ndarray[Any, Any]], other: list[np.ndarray[Any, Any]]) -> int:
    """Return how many of some tensors are among others of the same size."""
    ours, theirs = np.stack(one), np.stack(other)
    # Signs about the median find the only candidate: of unlike tensors they agree by half.
    signs = [np.sign(each - np.median(each, axis=1, keepdims=True)) for each in (ours, theirs)]
    theirs = theirs[(signs[0] @ signs[1].T).argmax(axis=1)]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratios = np.nan_to_num(ours / theirs, posinf=0.0, neginf=0.0)
    factor = np.median(ratios, axis=1, keepdims=True)
    near = np.abs(ours - factor * theirs) <= NEAR * np.median(np.abs(ours), axis=1, keepdims=True)
    return int((near.mean(axis=1) >= HALF).sum())


def _samples(folder: Path, seed: str) -> Samples:
    samples: defaultdict[int, list[np.ndarray[Any, Any]]] = defaultdict(list)
    number = 0
    for name in model_files(folder):
        if not name.endswith(WEIGHTS):
            continue
        for sample, size in _of_file(folder / name, seed):
            number += 1
            if number > _MAX_TENSORS:
                raise HarnessError(f"{folder} holds more than {_MAX_TENSORS} tensors")
            # Tensors of one value, such as a fresh norm's, are anybody's.
            if np.median(np.abs(sample)) > 0 and sample.min() < sample.max():
                samples[size].append(sample)
    return samples


def _of_file(path: Path, seed: str) -> Iterator[tuple[np.ndarray[Any, Any], int]]:
    """A sample of every tensor of floats in a file, and the tensor's number of values."""
    try:
        with path.open("rb") as stream:
            start, entries = _header(stream.fileno())
            for kind, size, offset in entries:
                if size >= _BLOCK:
                    yield _sample(stream.fileno(), kind, size, start + offset, seed), size
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise HarnessError(f"{path} is no readable safetensors file: {error}") from error


def _header(file: int) -> tuple[int, list[tuple[str, int, int]]]:
    """Return where the data begin, and each float tensor's format, size and place in them."""
    length = int.from_bytes(os.pread(file, 8, 0), "little")
    end = os.fstat(file).st_size
    if not 0 < length <= min(_MAX_HEADER, end - 8):
        raise ValueError("its header is damaged")
    fields = json.loads(os.pread(file, length, 8))
    entries = []
    for name, entry in fields.items():
        if name == "__metadata__" or entry["dtype"] not in _FORMATS:
            continue
        kind = _FORMATS[entry["dtype"]]
        size = math.prod(int(side) for side in entry["shape"])
        first, last = (int(offset) for offset in entry["data_offsets"])
        width = np.dtype(kind).itemsize
        if not 0 <= first <= last <= end - 8 - length or last - first != size * width:
            raise ValueError(f"its tensor '{name}' lies outside of it")
        entries.append((kind, size, first))
    return 8 + length, entries


def _sample(file: int, kind: str, size: int, start: int, seed: str) -> np.ndarray[Any, Any]:
    """Blocks of a tensor's values, at the same places in all tensors of a size."""
    width = np.dtype(kind).itemsize
    read = (os.pread(file, n * width, start + place * width) for place, n in _places(size, seed))
    values = np.frombuffer(b"".join(read), kind)
    if kind == _FORMATS["BF16"]:
        values = (values.astype(np.uint32) << 16).view(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.nan_to_num(values.astype(np.float32), posinf=0.0, neginf=0.0)


def _places(size: int, seed: str) -> list[tuple[int, int]]:
    """Return where the blocks of a tensor's sample begin, and how many values each has."""
    if size <= _BLOCK * _BLOCKS:
        return [(0, size)]
    name = hashlib.sha256(f"{seed} {size}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(name[:8], "big"))
    return [(place, _BLOCK) for place in sorted(rng.integers(0, size - _BLOCK, _BLOCKS).tolist())]
