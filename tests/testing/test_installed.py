"""Wheels of the product and of the example plug-ins, used away from this repository."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.terminal import ROOT


def python(*arguments: str, folder: Path, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(path), "PYTEST_ADDOPTS": "-p no:cacheprovider"},
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the product and the examples as their wheels install them."""
    pytest.importorskip("hatchling", reason="hatchling builds the wheels")
    wheels, target = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("site")
    for project in (ROOT, ROOT / "examples" / "plugins"):
        build = python("-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels),
                       folder=project, path=target)  # fmt: skip
        assert build.returncode == 0, build.stderr
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(target)
    return target


@pytest.mark.slow
def test_the_examples_keep_the_contracts_that_are_installed(site: Path, tmp_path: Path) -> None:
    tests = python("-m", "pytest", "-q", "-W", "error::pytest.PytestWarning", "--pyargs",
                   "example_plugins", folder=tmp_path, path=site)  # fmt: skip
    assert tests.returncode == 0 and " passed" in tests.stdout, tests.stdout
    where = python("-c", "import harness.testing as t; print(t.__file__)",
                   folder=tmp_path, path=site)  # fmt: skip
    assert Path(where.stdout.strip()).is_relative_to(site)


@pytest.mark.slow
def test_the_examples_run_by_the_names_of_their_entry_points(site: Path, tmp_path: Path) -> None:
    run = python("-m", "harness", "run", "--strategy", "second-half", "--benchmark",
                 "coloured-squares", "--model", "squares", "--budget", "4", "--out", "r",
                 folder=tmp_path, path=site)  # fmt: skip
    assert run.returncode == 0 and "12 of 12" in run.stdout, run.stderr
    audit = python("-m", "harness", "audit", "r", folder=tmp_path, path=site)
    assert audit.returncode == 0, audit.stdout


@pytest.mark.slow
def test_a_judge_that_replies_lets_the_miniature_rewrite(site: Path, tmp_path: Path) -> None:
    run = python("-m", "harness", "run", "--strategy", "rewrite", "--model", "restating",
                 "--budget", "3", "--limit", "6", "--out", "r",
                 folder=tmp_path, path=site)  # fmt: skip
    assert run.returncode == 0 and "6 of 6" in run.stdout, run.stderr
    texts = [
        text
        for shard in (tmp_path / "r" / "log").glob("candidates-*.parquet")
        for text in pq.read_table(shard, columns=["text"])["text"].to_pylist()
    ]
    assert any(texts)  # a wording that the judge has given was drawn
    audit = python("-m", "harness", "audit", "r", folder=tmp_path, path=site)
    assert audit.returncode == 0, audit.stdout


@pytest.mark.parametrize("missing", ["pytest", "hypothesis"])
def test_without_its_extra_it_is_a_sentence(tmp_path: Path, missing: str) -> None:
    code = f"import sys; sys.modules['{missing}'] = None; import harness.testing"
    result = python("-c", code, folder=tmp_path, path=ROOT)
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith(f"ImportError: harness.testing needs {missing}")
    assert "pip install 'inference-scaling-harness[testing]'" in last
