"""A folder of images in GenEval's layout and a tiny scorer for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from benchmarks.geneval.benchmark import GenEval
from benchmarks.geneval.mask2former import FRAME_FILE
from tests.tiny import make_tiny_suite

WANTED = (0, 1, 85, 90, 180, 190, 270, 360, 460)
"""Places of some official prompts, of all six tags."""


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tiny_suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    suite = make_tiny_suite(tmp_path_factory.mktemp("tiny-suite"))
    # Without it images would be blown up to the official 1333 by 800.
    frame = suite.parent / "tiny" / "detector" / FRAME_FILE
    frame.write_text('{"long": 64, "short": 64}')
    return suite


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return make_images(tmp_path / "images")


def make_images(root: Path, *, most: int = 3) -> Path:
    """One to three random images a prompt, in two sizes, png and jpg."""
    rng = np.random.default_rng(5)
    prompts = GenEval().prompts()
    for place in WANTED:
        folder = root / f"{place:05d}"
        (folder / "samples").mkdir(parents=True)
        (folder / "metadata.jsonl").write_text(json.dumps(prompts[place].metadata))
        for number in range(1 + place % most):
            size = (48, 32, 3) if number == 1 else (32, 32, 3)
            picture = Pillow.fromarray(rng.integers(0, 256, size, dtype=np.uint8))
            suffix = "jpg" if number == 2 else "png"
            picture.save(folder / "samples" / f"{number:04d}.{suffix}")
    return root
