"""Connecting to a cluster leaves the process as it was."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.terminal import ROOT

CODE = """
import signal, ray
from harness.engine.executors.cluster import connect
def stop(*_): pass
signal.signal(signal.SIGTERM, stop)
assert connect("local") and not connect(None)
assert signal.getsignal(signal.SIGTERM) is stop
ray.shutdown()
"""


@pytest.mark.slow
def test_who_handles_sigterm_still_does_with_ray() -> None:
    subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, check=True, timeout=120)
