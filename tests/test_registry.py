"""Names find built-ins and third parties' packages alike."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.registry import BENCHMARKS, STRATEGIES, Registry
from tests.stubs import make_stub_suite
from tests.terminal import ROOT

PACKAGE = {
    "pyproject.toml": """
        [build-system]
        requires = ["hatchling"]
        build-backend = "hatchling.build"
        [project]
        name = "third-party-search"
        version = "1.0"
        [project.entry-points."harness.strategies"]
        lucky = "third_party:Lucky"
        [project.entry-points."harness.benchmarks"]
        fruit = "third_party:Fruit"
        [tool.hatch.build.targets.wheel]
        only-include = ["third_party.py"]
        """,
    "third_party.py": """
        from dataclasses import dataclass
        from typing import ClassVar
        from benchmarks.base import Benchmark
        from harness.records import Draw, Prompt
        from strategies.base import Strategy, last

        @dataclass(frozen=True)
        class Lucky(Strategy):
            \"\"\"Draws `tries` times and takes the last.\"\"\"
            name: ClassVar[str] = "lucky"
            tries: int = 2
            def search(self, task):
                return last((yield [Draw(i) for i in range(min(self.tries, task.budget))]))

        @dataclass(frozen=True)
        class Fruit(Benchmark):
            \"\"\"Two fruit.\"\"\"
            name: ClassVar[str] = "fruit"
            scored: ClassVar[bool] = False
            def prompts(self):
                return [Prompt("0", "an apple"), Prompt("1", "a pear")]
        """,
}


def test_every_builtin_can_be_imported_and_is_called_what_it_is_called() -> None:
    for registry in (STRATEGIES, BENCHMARKS):
        for name in registry.builtins:
            assert registry.get(name).name == name


@pytest.mark.usefixtures("import_stubs")
def test_an_import_path_is_a_name_too() -> None:
    assert STRATEGIES.get("strategies.single:Single").name == "single"
    for wrong in ("no.such:Thing", "strategies.single:Nothing"):
        with pytest.raises(UsageError, match="cannot be imported"):
            STRATEGIES.get(wrong)


def test_a_typo_gets_a_suggestion() -> None:
    registry = Registry("colour", "harness.none", {"red": "os:path", "green": "os:path"})
    with pytest.raises(UsageError, match="unknown colour 'gren'") as caught:
        registry.get("gren")
    assert "did you mean 'green'?" in caught.value.hint


@pytest.mark.slow
def test_a_third_partys_package_adds_a_strategy_and_a_benchmark(tmp_path: Path) -> None:
    source, site = tmp_path / "source", tmp_path / "site"
    source.mkdir()
    for name, text in PACKAGE.items():
        (source / name).write_text(textwrap.dedent(text))
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps",
               "--no-build-isolation", "--target", site]  # fmt: skip
    subprocess.run([*map(str, install), str(source)], check=True, capture_output=True)
    suite, _ = make_stub_suite(tmp_path)
    paths = os.pathsep.join([str(ROOT), str(site)])
    command = ["run", "--strategy", "lucky", "-S", "tries=3", "--benchmark", "fruit"]
    done = subprocess.run(
        [sys.executable, "-m", "harness", *command, "--model", str(suite), "--out", "run"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "lucky (tries=3)" in done.stdout and "6 (3.00 a search)" in done.stdout
