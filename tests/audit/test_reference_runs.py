"""The committed reference runs pass their audit, with a few draws and verdicts made again.

This is `python -m harness audit results/reference/*`, run by CI at every change: code, bundled
weights and runs of one commit belong together.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli.audit import audit
from harness.config import read_config
from harness.log.manifest import FINISHED, Manifest
from harness.log.run_folder import find_runs
from harness.models.checkpoints import look
from harness.models.digests import folder_digest
from harness.records import Role
from tests.audit.forging import Forger

REFERENCE = Path(__file__).resolve().parents[2] / "results" / "reference"
RUNS = [folder.path for folder in find_runs(REFERENCE)]

FEW = ["--regenerate", "3", "--rescore", "3", "--device", "cpu"]


def audited(paths: list[Path], *options: str) -> tuple[int, str]:
    """Exit code and output of the command."""
    arguments = [*map(str, paths), *FEW, *options]
    found = CliRunner().invoke(audit, arguments, standalone_mode=False)
    assert found.exception is None, found.exception
    return found.return_value, found.output


@pytest.mark.skipif(not RUNS, reason="no reference runs are committed yet")
def test_reference_runs_pass() -> None:
    code, output = audited(RUNS)
    assert code == 0, output
    assert output.count("passed: 0 of ") == len(RUNS)


@pytest.mark.parametrize("path", RUNS or [None], ids=lambda path: path and path.name)
def test_reference_runs_are_of_this_commit_s_weights(path: Path | None) -> None:
    """Said apart from the audit, for whoever trains new weights: make the runs anew with them."""
    if path is None:
        pytest.skip("no reference runs are committed yet")
    manifest = Manifest.read(path / "manifest.json")
    config = read_config(manifest.config)
    assert manifest.state == FINISHED
    for role in Role:
        spec = getattr(config, role.value)
        for part, reference in (spec.checkpoints if spec else {}).items():
            assert reference.startswith("bundled:"), f"{reference} is nowhere else"
            folder = look(reference).path
            assert folder is not None and folder_digest(folder) == config.digests[f"{role}.{part}"]


def test_several_runs_of_which_one_is_forged(honest: Path, tmp_path: Path) -> None:
    for name in ("good", "bad"):
        shutil.copytree(honest, tmp_path / name)
    Forger(tmp_path / "bad").rewrite("candidates", lambda found: found[1:])
    code, output = audited([tmp_path / "good", tmp_path / "bad"], "--plugins")
    assert code == 1
    good, bad = output.split(str(tmp_path / "bad"))
    assert "passed: 0 of " in good and "FAILED: " in bad and "completeness" in bad
