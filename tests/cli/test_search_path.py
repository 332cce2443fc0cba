"""Where modules come from: the product's are the product's, and plug-ins are found all the same.

Each command is a process of its own, in a directory that holds packages of the product's names.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.stubs import make_stub_suite
from tests.terminal import ROOT

PLUGIN = """
from dataclasses import dataclass
from typing import ClassVar
from strategies.single import Single

@dataclass(frozen=True)
class Mine(Single):
    name: ClassVar[str] = "mine"
"""

Started = Sequence[str]


@pytest.fixture
def script(tmp_path: Path) -> list[str]:
    """The console script, as an installer writes it."""
    entry = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["harness"]
    module, _, function = entry.partition(":")
    path = tmp_path / "bin" / "harness"
    path.parent.mkdir()
    path.write_text(f"import sys\nfrom {module} import {function}\nsys.exit({function}())\n")
    return [sys.executable, str(path)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working directory with packages that are not the product's, and a plug-in."""
    folder = tmp_path / "work"
    for name in ("strategies", "benchmarks"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("raise RuntimeError('not the product')\n")
    for name in ("click", "rich", "pyarrow", "torch", "ray"):
        (folder / f"{name}.py").write_text("raise RuntimeError('not the installed one')\n")
    (folder / "plugin.py").write_text(PLUGIN)
    return folder


def environment(**others: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", **others}


def done(command: Sequence[str], folder: Path, **others: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, env=environment(**others), capture_output=True, text=True, timeout=280
    )


@pytest.fixture(params=["module", "script"])
def started(request: pytest.FixtureRequest, script: list[str]) -> Started:
    return [sys.executable, "-m", "harness"] if request.param == "module" else script


def run(tmp_path: Path, *options: str) -> list[str]:
    suite, _ = make_stub_suite(tmp_path)
    benchmark = ["--benchmark", "tests.stubs:StubBenchmark", "--strategy", "plugin:Mine"]
    return ["run", "--model", str(suite), *benchmark, "--out", "r", "--threads", "1", *options]


@pytest.mark.slow
def test_the_product_s_own_packages_win(started: Started, folder: Path, tmp_path: Path) -> None:
    listed = done([*started, "ls", "strategies"], folder)
    assert listed.returncode == 0 and "best-of-n" in listed.stdout, listed.stderr
    ran = done([*started, *run(tmp_path)], folder)
    assert ran.returncode == 0 and "10 of 10" in ran.stdout, ran.stderr


@pytest.mark.slow
def test_so_they_do_in_workers(script: list[str], folder: Path, tmp_path: Path) -> None:
    for name in ("click", "rich", "pyarrow", "torch", "ray"):
        (folder / f"{name}.py").unlink()  # what Ray itself imports there is Ray's affair
    ran = done([*script, *run(tmp_path, "--executor", "ray", "--device", "cpu")], folder)
    assert ran.returncode == 0 and "10 of 10" in ran.stdout, ran.stderr


@pytest.mark.slow
def test_a_module_of_the_product_s_own_name(
    script: list[str], folder: Path, tmp_path: Path
) -> None:
    (folder / "harness.py").write_text("raise RuntimeError('not the product')\n")
    ran = done([*script, *run(tmp_path)], folder)
    assert ran.returncode == 0, ran.stderr
    again = [*script, *run(tmp_path, "--executor", "ray", "--device", "cpu", "--seed", "1")]
    ran = done([*again, "--out", "s"], folder)
    assert ran.returncode == 1 and "harness.py instead of this program" in ran.stderr
    assert "hint: rename it" in ran.stderr and not (folder / "s").exists()


@pytest.mark.slow
@pytest.mark.parametrize("entry", ["", "work"])
def test_a_search_path_that_names_the_directory(
    script: list[str], folder: Path, entry: str
) -> None:
    """An empty entry of $PYTHONPATH is the working directory, before what is installed."""
    for name in ("click", "rich", "pyarrow", "torch", "ray"):
        (folder / f"{name}.py").unlink()
    path = os.pathsep.join([str(folder) if entry else "", str(ROOT)])
    for command in (script, [sys.executable, "-m", "harness"]):
        listed = done([*command, "ls", "benchmarks"], folder, PYTHONPATH=path)
        assert listed.returncode == 0 and "geneval" in listed.stdout, listed.stderr


@pytest.mark.slow
def test_safe_path_is_heeded(folder: Path, tmp_path: Path) -> None:
    safe = [sys.executable, "-P", "-m", "harness", *run(tmp_path)]
    ran = done(safe, folder)
    assert ran.returncode == 2 and "No module named 'plugin'" in ran.stderr


def test_another_package_imported_before_is_named(folder: Path) -> None:
    (folder / "strategies" / "__init__.py").write_text("")
    ran = done([sys.executable, "-c", "import strategies, harness"], folder)
    assert "ImportError: harness needs its own package 'strategies'" in ran.stderr
    ran = done([sys.executable, "-c", "import strategies.base, benchmarks, harness.plan"], ROOT)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize(
    ("words", "completions"),
    [
        ("harness re", {"resume", "repair", "report"}),
        ("harness run --keep-images ", {"all", "selected", "none"}),
        ("harness run --see", {"--seed"}),
    ],
)
def test_tab_completion(
    script: list[str], tmp_path: Path, words: str, completions: set[str]
) -> None:
    listed = done(
        script, tmp_path, _HARNESS_COMPLETE="bash_complete", COMP_WORDS=words,
        COMP_CWORD=str(words.count(" ")),
    )  # fmt: skip
    assert {line.partition(",")[2] for line in listed.stdout.splitlines()} == completions
    assert listed.stderr == ""


def test_a_word_that_is_no_command_completes_in_silence(script: list[str], tmp_path: Path) -> None:
    words = {"COMP_WORDS": "harness rum ", "COMP_CWORD": "2"}
    listed = done(script, tmp_path, _HARNESS_COMPLETE="bash_complete", **words)
    assert listed.returncode == 0 and listed.stderr == ""


def test_the_script_for_the_shell(script: list[str], tmp_path: Path) -> None:
    source = done(script, tmp_path, _HARNESS_COMPLETE="bash_source")
    assert "complete -o nosort -F _harness_completion harness" in source.stdout


def test_each_way_names_itself(started: Started, tmp_path: Path) -> None:
    usage = done([*started, "run", "--help"], tmp_path).stdout.splitlines()[0]
    name = "python -m harness" if "-m" in started else "harness"
    assert usage == f"Usage: {name} run [OPTIONS]"
