"""The commands that exchange files with other people's tools."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from tests.foreign import published, script_output
from tests.shared import SHARED, needs_shared
from tests.terminal import STUB, Terminal


@needs_shared("mask2former")
@pytest.mark.parametrize(("file", "layout"), [("tiny_mmdet2", "2.x"), ("tiny_mmdet3", "3.x")])
def test_convert_detector(harness: Terminal, file: str, layout: str) -> None:
    checkpoint = SHARED / "mask2former" / f"{file}.pth"
    assert harness("convert-detector", checkpoint, "--out", "detector") == 0
    assert f"tensors of mmdet {layout}, each used once" in harness.out
    assert (Path("detector") / "model.safetensors").is_file()
    assert harness("convert-detector", checkpoint, "--out", "detector") == 2
    assert "not an empty folder" in harness.err


def test_convert_detector_names_what_it_cannot_use(harness: Terminal) -> None:
    assert harness("convert-detector", "none.pth", "--out", "detector") == 2
    assert "there is no checkpoint none.pth" in harness.err
    torch.save({"state_dict": {"bbox_head.fc.weight": torch.zeros(2)}}, "other.pth")
    assert harness("convert-detector", "other.pth", "--out", "detector") == 1
    assert "no Mask2Former" in harness.err
    assert not Path("detector").exists()


def test_export(harness: Terminal, suite: Path) -> None:
    harness("run", "--model", suite, *STUB, "--budget", 2, "--out", "r")
    assert harness("export", "r", "--out", "images") == 0
    assert harness.out.startswith("images: 10 images of 10 prompts, 0 missing\nminiature models: ")
    assert len(list(Path("images").glob("*/samples/0000.png"))) == 10
    assert harness("export", "r", "--out", "images") == 2
    left = Path("images/00003/samples/0000.png").read_bytes()
    for path in Path("r/images").glob("*/*.png"):
        if path.read_bytes() != left:
            path.unlink()
    assert harness("export", "r", "--out", "again") == 1
    assert harness.err.count("missing: prompt 000") == 9
    shutil.rmtree("r/images")
    assert harness("export", "r", "--out", "none") == 1
    assert harness.err.startswith("error: none of the images of r is there: prompt 00000, ")


def test_import(harness: Terminal, tmp_path: Path) -> None:
    source = script_output(tmp_path / "source")
    command = ["import", source, "--format", "reflect-dit"]
    assert harness(*command, "--out", "r") == 0
    expected = published(source)
    row = ", ".join(f"N={n} {expected[n - 1]:.4f}" for n in (4, 8, 12))
    assert f"micro at  {row}\n" in harness.out
    assert "recorded · budget 12 · geneval · reflect-dit-script" in harness.out
    assert harness("show", "r") == 0 and "20 of 20" in harness.out
    assert harness(*command, "--out", "r") == 2 and "not empty" in harness.err
    next(source.glob("00000/samples/*.feedback.json")).write_text("{")
    assert harness(*command, "--out", "r2") == 1
    assert "problem: 00000/samples/" in harness.err
