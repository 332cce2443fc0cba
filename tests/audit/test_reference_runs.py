"""The committed reference runs pass their audit, with a few draws and verdicts made again."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.audit.checks import audit
from harness.audit.subject import Options, Subject
from harness.log.run_folder import find_runs

REFERENCE = Path(__file__).resolve().parents[2] / "results" / "reference"
RUNS = find_runs(REFERENCE)


@pytest.mark.skipif(not RUNS, reason="no reference runs are committed yet")
def test_reference_runs_pass() -> None:
    for folder in RUNS:
        results = audit(Subject(folder, Options(regenerate=2, rescore=2)))
        assert not [result for result in results if result.failed], folder.path
