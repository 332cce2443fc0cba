"""`score` as a person meets it."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.engine import engine
from harness.engine.executors.inline import InlineExecutor
from harness.engine.jobs import BatchResult
from tests.terminal import Terminal


def test_score(harness: Terminal, images: Path, tiny_suite: Path) -> None:
    command = ["score", images, "--model", tiny_suite, "--out", "out", "--threads", 1]
    assert harness(*command) == 0
    for piece in ("macro (official", "micro (mean", "per image", "per prompt", "color_attr"):
        assert piece in harness.out
    assert "miniature scorer" in harness.out and "images of 9 prompts" in harness.err
    assert "loading models" in harness.err
    tiny = tiny_suite.parent / "tiny"
    models = f"colors {tiny / 'colors'}, detector {tiny / 'detector'}; float32, batches of 4"
    assert f"models    {models}\n" in harness.out
    first = harness.out
    lines = Path("out/results.jsonl").read_text().splitlines()
    assert all(Path(json.loads(line)["filename"]).is_file() for line in lines)
    assert harness(*command) == 0 and harness.out == first
    assert "already finished" in harness.err and "loading" not in harness.err
    assert harness("show", "out") == 0 and "macro" in harness.out
    assert harness(*command, "-O", "max_overlap=0.5") == 2
    assert "scorer.settings.max_overlap" in harness.err


@pytest.mark.slow
def test_refused_images_are_named_and_the_exit_code_says_so(
    harness: Terminal, images: Path, tiny_suite: Path
) -> None:
    bad = images / "00000" / "samples" / "0000.png"
    bad.write_bytes(b"no image")
    shutil.rmtree(images / "00001" / "samples")
    detector = tiny_suite.parent / "tiny" / "detector"
    command = ["score", images, "--model", tiny_suite, "--out", "out", "--detector", detector]
    assert harness(*command) == 1
    assert f"not scored: {bad}: neither PNG nor JPEG" in harness.err
    assert re.search(
        r"(\d+) of \d+ scored, of 8 prompts; 1 not scored, and in no score", harness.out
    )
    assert "1 folder without any image, which counts for nothing" in harness.err
    assert harness(*command) == 1, "as often as it is asked"


@pytest.mark.slow
def test_an_unfinished_scoring_says_how_to_go_on(
    harness: Terminal, images: Path, tiny_suite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["score", images, "--model", tiny_suite, "--out", "an out", "--threads", 1]
    total = len(list(images.glob("*/samples/*")))

    def interrupted_after(jobs: int) -> None:
        wait, left = InlineExecutor.wait, [jobs]

        def stop(self: InlineExecutor, timeout: float) -> Sequence[BatchResult]:
            if left[0] == 0:
                raise KeyboardInterrupt
            left[0] -= 1
            return wait(self, timeout)

        with monkeypatch.context() as patch:
            patch.setattr(engine, "BATCHES_A_JOB", 1)
            patch.setattr(InlineExecutor, "wait", stop)
            assert harness(*command) == 130

    again = f"python -m harness {shlex.join(map(str, command))}"
    interrupted_after(0)
    assert again in harness.err
    assert harness("show", "an out") == 0
    assert f"0 of {total} images" in harness.out and again in harness.out
    interrupted_after(2)
    assert harness("show", "an out") == 0
    scored = int(re.search(r"unfinished (\d+) of", harness.out)[1])  # type: ignore[index]
    assert 0 < scored < total and f"of {total} images" in harness.out
    assert "results.jsonl" not in harness.out, "it is written at the end"
    [output] = re.findall(r"go on with (.*)", harness.out)
    assert harness("resume", "an out") == 2 and f"hint: {output}" in harness.err
    # What was said is done, word by word.
    assert shlex.split(output)[:3] == ["python", "-m", "harness"]
    assert harness(*shlex.split(output)[3:]) == 0
    whole = harness.out
    assert harness("show", "an out") == 0
    assert "unfinished" not in harness.out and "go on" not in harness.out
    assert whole.split("results ")[0] == harness.out.split("results ")[0]
    assert harness("resume", "an out") == 0 and "already finished" in harness.err


def test_a_scheduler_s_signal_stops_it_as_ctrl_c_does(
    harness: Terminal, images: Path, tiny_suite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["score", images, "--model", tiny_suite, "--out", "out", "--threads", 1]
    wait = InlineExecutor.wait

    def ended(self: InlineExecutor, timeout: float) -> Sequence[BatchResult]:
        signal.raise_signal(signal.SIGTERM)
        return wait(self, timeout)

    # Without a handler of its own the command would go on to its end here.
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(InlineExecutor, "wait", ended)
            assert harness(*command) == 130
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN, "put back"
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "hint: carry on with: python -m harness score" in harness.err


def test_the_original_is_an_extra(
    harness: Terminal, images: Path, tiny_suite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    command = ["score", images, "--model", tiny_suite, "--out", "out"]
    detector = tiny_suite.parent / "tiny" / "detector"
    for asked in ("mmdet", f"mmdet:{detector}"):
        assert harness(*command, "--detector", asked) == 1
        assert "mmdet, which is not installed" in harness.err
        assert "pip install -e '.[mmdet]'" in harness.err
        assert not Path("out").exists()
    assert harness("score", images, "--out", "out", "--detector", "mmdet") == 2
    assert "holds a centernet one" in harness.err and "--detector mmdet:FOLDER" in harness.err


def test_bad_requests(harness: Terminal, images: Path, tiny_suite: Path) -> None:
    assert harness("score", "nowhere", "--out", "out") == 2
    assert "no folder nowhere" in harness.err
    assert harness("score", images, "--model", tiny_suite, "--out", "o", "--colors", "./no") == 1
    assert "./no" in harness.err
    shutil.rmtree(images / "00000" / "samples")
    assert harness("score", images / "00000", "--out", "out") == 2
    assert not Path("out").exists() and not Path("o").exists()
