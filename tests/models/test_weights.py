"""Weights compared by value: unlike ones have nothing in common, damaged ones are named."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from harness.errors import HarnessError
from harness.models import weights
from harness.models.checkpoints import BUNDLED
from harness.models.weights import overlap


def test_the_bundled_checkpoints_have_little_in_common() -> None:
    parts = [
        BUNDLED / name for name in ("colors", "judge_colors", "detector", "judge", "vision", "base")
    ]
    for i, one in enumerate(parts):
        for other in parts[i + 1 :]:
            share = overlap(one, other, "")
            assert share is not None and share < 0.05, (one.name, other.name, share)
        assert overlap(one, one, "") == 1


def write(folder: Path, **tensors: np.ndarray) -> Path:
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    return folder


def test_half_of_either_is_enough_to_be_seen(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    a, b, c = (rng.normal(size=5000).astype(np.float32) for _ in range(3))
    one = write(tmp_path / "one", a=a, b=b)
    other = write(tmp_path / "other", c=c, a=a)
    whole = write(tmp_path / "whole", a=a, b=b, c=c)
    assert overlap(one, other, "") == 0.5
    assert overlap(one, whole, "") == overlap(whole, one, "") == 1


def test_where_samples_lie_hangs_on_the_seed(tmp_path: Path) -> None:
    """Or else a forger would change just the sampled values."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=500_000).astype(np.float32)
    one = write(tmp_path / "one", a=a)
    forged = a.copy()
    for place, number in weights._places(a.size, "0"):
        forged[place : place + number] = rng.normal(size=number)
    other = write(tmp_path / "other", a=forged)
    seen = [overlap(one, other, str(seed)) for seed in range(9)]
    assert seen == [0, *[1] * 8]


def test_tensors_of_one_value_are_nobody_s(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    same = {"norm": np.ones(9000, np.float32), "bias": np.zeros(9000, np.float32)}
    parts = [
        write(tmp_path / name, own=rng.normal(size=100).astype(np.float32), **same)
        for name in ("one", "other")
    ]
    assert overlap(*parts, "") == 0


def test_without_floats_there_is_nothing_to_compare(tmp_path: Path) -> None:
    one = write(tmp_path / "one", a=np.arange(1000))
    assert overlap(one, one, "") is None


def header(fields: object, data: bytes = b"") -> bytes:
    text = json.dumps(fields).encode()
    return struct.pack("<Q", len(text)) + text + data


BAD = {
    "empty": b"",
    "a length beyond its end": struct.pack("<Q", 1 << 60) + b"{}",
    "no JSON": struct.pack("<Q", 4) + b"abcd",
    "no object": header([1, 2]),
    "an entry that is none": header({"a": 3}),
    "a tensor beyond its end": header(
        {"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}
    ),
    "a tensor before its beginning": header(
        {"a": {"dtype": "F32", "shape": [64], "data_offsets": [-256, 0]}}
    ),
    "a shape of another size": header(
        {"a": {"dtype": "F32", "shape": [100], "data_offsets": [0, 8]}}, bytes(8)
    ),
    "nested too deeply": struct.pack("<Q", 100_000) + b"[" * 100_000,
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_a_damaged_file_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(data)
    with pytest.raises(HarnessError, match=r"model\.safetensors is no readable"):
        overlap(tmp_path, tmp_path, "")
