"""No file of the product imports itself by way of others, imports inside functions included."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import harness.analysis
from tests.terminal import ROOT

PACKAGES = ("harness", "strategies", "benchmarks")


def modules(root: Path) -> dict[str, Path]:
    """Files of the product by the name they are imported by."""
    files = [file for package in PACKAGES for file in (root / package).rglob("*.py")]
    return {".".join(_name(file.relative_to(root))): file for file in files}


def _name(file: Path) -> tuple[str, ...]:
    parts = file.with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def imported(file: Path) -> Iterator[str]:
    """Names of what a file imports anywhere in it; a package's member as "package.member"."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} has a relative import, which is not looked at here"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def import_graph(root: Path) -> dict[str, set[str]]:
    """Each module of the product, and those that it imports."""
    files = modules(root)

    def module_of(name: str) -> str:
        while name and name not in files:
            name = name.rpartition(".")[0]
        return name

    return {
        module: {module_of(name) for name in imported(file)} - {module, ""}
        for module, file in files.items()
    }


def test_no_file_imports_itself_by_way_of_others() -> None:
    graph = import_graph(ROOT)
    assert sum(map(len, graph.values())) > 500
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize(
    "line", ["import harness.b", "from harness import b", "from harness.b import x"]
)
def test_an_import_inside_a_function_counts(tmp_path: Path, line: str) -> None:
    (tmp_path / "harness").mkdir()
    (tmp_path / "harness" / "__init__.py").write_text("")
    (tmp_path / "harness" / "a.py").write_text(f"def later():\n    {line}\n")
    (tmp_path / "harness" / "b.py").write_text("from harness.a import later\nx = 1\n")
    with pytest.raises(CycleError, match=r"harness\.a"):
        TopologicalSorter(import_graph(tmp_path)).prepare()


def test_what_a_package_lists_can_be_imported_from_it() -> None:
    for package in (harness, harness.analysis):
        for name in package.__all__:
            assert getattr(package, name) is not None
