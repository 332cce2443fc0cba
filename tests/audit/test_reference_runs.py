"""The committed reference runs pass their audit; of two, draws and verdicts are made again.

This is `python -m harness audit results/reference*/*`, run by CI at every change for one seed of
each search: code, bundled weights and runs of one commit belong together. All runs of a folder were
made with the same models, so that a few, each of another seed, try whether they still make what
they made.
"""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.analysis import load_run
from harness.audit.result import Status
from harness.cli.audit import audit
from harness.config import RunConfig, read_config
from harness.engine.devices import device_name
from harness.log.manifest import FINISHED, Manifest
from harness.log.run_folder import RunFolder, find_runs
from harness.log.schema import KEYS, TABLES
from harness.log.store import check_agreement, read
from harness.models.checkpoints import look
from harness.models.digests import folder_digest
from harness.records import Role
from tests.audit.forging import Forger

RESULTS = Path(__file__).resolve().parents[2] / "results"
WORLDS = [
    [folder.path for folder in find_runs(RESULTS / name)]
    for name in (
        "reference",
        "reference-habits",
        "reference-strict",
        "reference-search",
        "reference-control",
    )
]
RUNS = [path for runs in WORLDS for path in runs]


def one_of_each(runs: list[Path]) -> list[Path]:
    """Of runs that differ in the seed alone one, now of this seed, now of that."""
    seeds = defaultdict[str, list[Path]](list)
    for path in runs:
        seeds[path.name.rpartition("-")[0]].append(path)
    return [paths[turn % len(paths)] for turn, paths in enumerate(seeds.values())]


FEW = ["--regenerate", "3", "--rescore", "3", "--device", "cpu"]
NONE = ["--regenerate", "0", "--rescore", "0", "--device", "cpu"]
REMADE = (
    "reference/explore-then-reflect-1",
    "reference-habits/reflect-1",
)
"""Runs of which draws are made again, in either world; the reviewer's tutorial has a third."""


def audited(paths: list[Path], *options: str) -> tuple[int, str]:
    """Exit code and output of the command."""
    arguments = [*map(str, paths), *options]
    result = CliRunner().invoke(audit, arguments, standalone_mode=False)
    assert result.exception is None, result.exception
    return result.return_value, result.output


@pytest.mark.slow
@pytest.mark.skipif(not RUNS, reason="no reference runs are committed yet")
@pytest.mark.parametrize("runs", WORLDS, ids=lambda runs: runs and runs[0].parent.name)
def test_reference_runs_pass(runs: list[Path]) -> None:
    runs = one_of_each(runs)
    code, output = audited(runs, *NONE)
    assert code == 0, output
    assert output.count("passed: 0 of ") == len(runs)


@pytest.mark.slow
@pytest.mark.skipif(not RUNS, reason="no reference runs are committed yet")
@pytest.mark.timeout(900)
def test_reference_runs_pass_with_draws_made_again(tmp_path: Path) -> None:
    paths = [RESULTS / name for name in REMADE]
    for path in paths:
        config = read_config(Manifest.read(path / "manifest.json").config)
        assert path.name == f"{config.strategy.name}-{config.seed}"
    code, output = audited(paths, *FEW, "--json", str(tmp_path / "results.json"))
    assert code == 0, output
    by_run = json.loads((tmp_path / "results.json").read_text())
    assert len(by_run) == len(REMADE)
    moved = []
    for path, results in zip(paths, by_run.values(), strict=True):
        outcomes = {result["check"]: result["outcome"] for result in results}
        assert outcomes["rescoring"] == Status.PASS
        if load_run(path).devices == {device_name("cpu")}:
            assert outcomes["regeneration"] == Status.PASS
        else:
            assert outcomes["regeneration"] in (Status.PASS, Status.NOT_APPLICABLE)
            moved.append(path.name)
    if moved:
        pytest.skip(f"made on another processor, which may round otherwise: {', '.join(moved)}")


def that_search(config: RunConfig) -> dict[str, str]:
    """Digests of all checkpoints but those of metrics, which steer nothing."""
    return {
        name: digest for name, digest in config.digests.items() if not name.startswith("metric.")
    }


@pytest.mark.skipif(not RUNS, reason="no reference runs are committed yet")
@pytest.mark.parametrize("runs", WORLDS)
def test_all_reference_runs_of_a_world_are_of_the_same_models(runs: list[Path]) -> None:
    """Or a few of them would not speak for the rest."""
    configs = [read_config(Manifest.read(path / "manifest.json").config) for path in runs]
    first = configs[0]
    for config in configs:
        for field in ("generator", "judge", "scorer", "benchmark"):
            assert getattr(config, field) == getattr(first, field)
        assert that_search(config) == that_search(first)


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.name)
def test_logs_of_all_reference_runs_are_whole(path: Path) -> None:
    for table in TABLES:
        read(RunFolder(path).log, table, list(KEYS[table]))  # held to the digests in their names
    check_agreement(RunFolder(path).log)


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
    Forger(tmp_path / "bad").rewrite("candidates", lambda result: result[1:])
    code, output = audited([tmp_path / "good", tmp_path / "bad"], *FEW, "--plugins")
    assert code == 1
    good, bad = output.split(str(tmp_path / "bad"))
    assert "passed: 0 of " in good and "FAILED: " in bad and "completeness" in bad
