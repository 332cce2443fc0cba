"""`run --beside`, and what a terminal shows of a run."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.terminal import ROOT, STUB, Terminal


@pytest.mark.slow
def test_a_baseline_beside_a_run_is_compared_with_it(harness: Terminal, suite: Path) -> None:
    command = ["run", "--model", suite, *STUB, "--strategy", "reflect", "--budget", "4"]
    beside = ["--beside", "best-of-n,select=first-accepted"]
    assert harness(*command, *beside, "--out", "r") == 0, harness.err
    out = harness.out
    assert "reflect (" in out and "best-of-n (select=first-accepted)" in out
    assert re.search(r"reflect\S* minus best-of-n", out) and "micro" in out
    last = out.splitlines()[-1]
    assert last == "look      python -m harness view r r-best-of-n"
    assert harness("compare", "r-best-of-n", "r") == 0
    assert harness.out.strip() in out
    assert harness(*command, *beside, "--out", "r") == 0
    assert harness.err.count("already finished") == 2


@pytest.mark.parametrize(
    ("beside", "message"),
    [
        ("reflekt", "did you mean 'reflect'"),
        ("best-of-n,x", "name=value"),
        ("best-of-n,selekt=score", "selekt"),
        ("best-of-n", "the very search"),
    ],
)
def test_a_baseline_that_is_none_is_refused_before_the_run(
    harness: Terminal, suite: Path, beside: str, message: str
) -> None:
    command = ["run", "--model", suite, *STUB, "--budget", "2", "--out", "r"]
    assert harness(*command, "--beside", beside) == 2
    assert message in harness.err and not Path("r").exists()


def on_screen(arguments: list[str], cwd: Path, columns: int = 80) -> tuple[int, str, str]:
    """Run a command whose stderr is a terminal; returns exit code, stdout and what it showed."""
    master, slave = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color"}
    environment |= {"COLUMNS": str(columns)}
    process = subprocess.Popen(
        [sys.executable, "-m", "harness", *arguments],
        cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=slave, text=True,
    )  # fmt: skip
    os.close(slave)
    shown = b""
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        shown += piece
    os.close(master)
    assert process.stdout is not None
    out = process.stdout.read()
    return process.wait(), out, shown.decode(errors="replace")


@pytest.mark.slow
def test_a_terminal_counts_from_nothing_and_says_what_it_waits_for(
    suite: Path, tmp_path: Path
) -> None:
    command = ["run", "--model", str(suite), *STUB, "--budget", "2", "--out", "r"]
    code, _, shown = on_screen(command, tmp_path)
    assert code == 0, shown
    assert "0/10 searches loading generator, judge and scorer" in shown
    assert "\\x1b" not in shown
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    lines = [line for line in re.split(r"[\r\n]+", plain) if "searches" in line]
    assert lines and max(map(len, lines)) <= 80


def test_plain_lines_do_so_too(harness: Terminal, suite: Path) -> None:
    assert harness("run", "--model", suite, *STUB, "--budget", "2", "--out", "r") == 0
    assert "0/10 searches, loading generator, judge and scorer …" in harness.err
    assert harness.out.splitlines()[-1] == "look      python -m harness view r"
