"""A worker's process holds what its model needs, and no torch for one that needs none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.terminal import ROOT

CODE = """
import sys
from pathlib import Path
from harness.engine.worker import Setup, Worker
from harness.records import Role
from tests.runs import stub_plan
ready = stub_plan(Path(sys.argv[1]), threads=1)
Worker(Role.GENERATOR, Setup(ready.config, ready.paths))
assert "torch" not in sys.modules
import torch
assert torch.get_num_threads() == 1
"""


@pytest.mark.slow
def test_torch_comes_with_the_model_that_needs_it(suite: Path) -> None:
    subprocess.run([sys.executable, "-c", CODE, str(suite)], cwd=ROOT, check=True)
