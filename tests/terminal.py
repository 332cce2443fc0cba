"""The command line as tests drive it: in this process, or as one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from harness.__main__ import main

ROOT = Path(__file__).resolve().parents[1]
STUB = ["--benchmark", "tests.stubs:StubBenchmark"]

PATIENCE = 240.0
"""Seconds that a state is waited for: long enough for a machine that is busy with other things."""

SMALL_SHARDS = (
    "from harness.log import store\nstore.SHARD_ROWS = 4\nfrom harness.__main__ import main\nmain()"
)
"""The command line, with shards so small that a short run writes one in the middle of its work."""

READERS = ("audit", "bundle", "compare", "export", "report", "resume", "show")
"""Commands that import what a manifest names by import path if --plugins says so."""


class Terminal:
    """Runs commands in this process and remembers their output.

    The stubs are named by import path and are the tests' own, so commands that read a run get
    --plugins, as whoever wrote the stubs would give it; with `plugins=False` they do not.
    """

    def __init__(self, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self._capsys = capsys
        self._patch = patch
        self.out = self.err = ""

    def __call__(self, *arguments: str | Path, plugins: bool = True) -> int:
        self._capsys.readouterr()
        if plugins and arguments[0] in READERS and "--plugins" not in arguments:
            arguments = (*arguments, "--plugins")
        self._patch.setattr(sys, "argv", ["harness", *map(str, arguments)])
        self._patch.setattr(sys, "path", sys.path.copy())  # a process of its own would change it
        with pytest.raises(SystemExit) as caught:
            main()
        self.out, self.err = self._capsys.readouterr()
        assert "Traceback" not in self.err
        return int(caught.value.code or 0)


def start(arguments: Sequence[str], cwd: Path, *, code: str = "") -> subprocess.Popen[str]:
    """A command in a process of its own, with pipes for its output.

    Args:
        arguments: The command's, without `python -m harness`.
        cwd: Where it runs.
        code: Python to run instead of `-m harness`, which calls `main` itself.
    """
    return subprocess.Popen(
        [sys.executable, *(["-c", code] if code else ["-m", "harness"]), *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(
    condition: Callable[[], object], process: subprocess.Popen[str] | None = None
) -> None:
    """Wait for a state; fail with a process's output if it ends before, or after `PATIENCE`."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < end, f"waited {PATIENCE:g} s in vain"
        time.sleep(0.02)
