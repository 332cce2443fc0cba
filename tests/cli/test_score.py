"""`score` as a person meets it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.cli.test_cli import Terminal, harness
from tests.scoring.conftest import images, one_thread, tiny_suite

__all__ = ["harness", "images", "one_thread", "tiny_suite"]


def test_score(harness: Terminal, images: Path, tiny_suite: Path) -> None:
    command = ["score", images, "--model", tiny_suite, "--out", "out", "--threads", 1]
    assert harness(*command) == 0
    for piece in ("macro (official", "micro (mean", "per image", "per prompt", "color_attr"):
        assert piece in harness.out
    assert "miniature scorer" in harness.out and "images of 9 prompts" in harness.err
    first = harness.out
    lines = Path("out/results.jsonl").read_text().splitlines()
    assert all(Path(json.loads(line)["filename"]).is_file() for line in lines)
    assert harness(*command) == 0 and harness.out == first
    assert harness("show", "out") == 0 and "macro" in harness.out
    assert harness(*command, "-O", "max_overlap=0.5") == 2
    assert "scorer.settings.max_overlap" in harness.err


def test_refused_images_are_named_and_the_exit_code_says_so(
    harness: Terminal, images: Path, tiny_suite: Path
) -> None:
    bad = images / "00000" / "samples" / "0000.png"
    bad.write_bytes(b"no image")
    detector = tiny_suite.parent / "tiny" / "detector"
    command = ["score", images, "--model", tiny_suite, "--out", "out", "--detector", detector]
    assert harness(*command) == 1
    assert f"not scored: {bad}: neither PNG nor JPEG" in harness.err
    assert "1 not (counted as wrong)" in harness.out
    assert harness(*command) == 1, "as often as it is asked"


def test_bad_requests(harness: Terminal, images: Path, tiny_suite: Path) -> None:
    assert harness("score", "nowhere", "--out", "out") == 2
    assert "no folder nowhere" in harness.err
    assert harness("score", images, "--model", tiny_suite, "--out", "o", "--colors", "./no") == 1
    assert "./no" in harness.err
    shutil.rmtree(images / "00000" / "samples")
    assert harness("score", images / "00000", "--out", "out") == 2
    assert not Path("out").exists() and not Path("o").exists()
