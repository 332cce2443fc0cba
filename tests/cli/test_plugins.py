"""Code that a manifest names by import path runs with --plugins only, whatever command reads it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import harness as package
from harness.analysis import analyse
from harness.config import read_config
from harness.errors import HarnessError
from harness.interop.export import export
from harness.log.manifest import Manifest
from harness.plan import replan
from harness.prompts import read_prompts
from harness.registry import ImportRefused
from tests.audit.forging import Forger
from tests.runs import run, stub_plan
from tests.stubs import make_stub_suite
from tests.terminal import STUB, Terminal

MODULE = "from pathlib import Path\nPath(__file__).with_name('imported').touch()\n"

NAMES: dict[str, Callable[[dict[str, Any]], None]] = {
    "strategy": lambda fields: fields["strategy"].update(name="stranger:Search"),
    "benchmark": lambda fields: fields["benchmark"].update(name="stranger:Prompts"),
    "generator": lambda fields: fields["generator"].update(kind="stranger:Generator"),
    "judge": lambda fields: fields["judge"].update(kind="stranger:Judge"),
}

COMMANDS = (
    ("resume", "r"),
    ("export", "r", "--out", "images"),
    ("report", "r", "--out", "page"),
    ("compare", "r", "whole"),
    ("show", "r"),
    ("audit", "r", "--regenerate", "3", "--rescore", "3"),
    ("audit", "whole", "--against", "r", "--regenerate", "0", "--rescore", "0"),
    ("bundle", "r", "--out", "r.zip"),
    ("simulate", "--from", "r", "--gpus", "1", "--prompts", "2"),
    ("repair", "r"),
    ("ls", "runs", "--root", "."),
    ("run", *STUB, "--model", "stub.toml", "--budget", "3", "--reuse", "r", "--out", "more"),
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, whole, and as one that is unfinished, with a search that drew nothing."""
    root = tmp_path_factory.mktemp("runs")
    run(stub_plan(make_stub_suite(root)[0], budget=2), root / "whole")
    shutil.copytree(root / "whole", root / "r")
    forger = Forger(root / "r")
    gone = forger.read("searches")[0]["prompt_id"]
    forger.rewrite("candidates", lambda rows: [r for r in rows if r["prompt_id"] != gone])
    forger.rewrite("searches", lambda rows: [
        {**r, "draws": 0, "rounds": 0, "selected_index": None, "selected_id": None, "error": "x"}
        if r["prompt_id"] == gone else r for r in rows
    ])  # fmt: skip
    forger.manifest(lambda fields: fields.update(state="running"))
    return root


@pytest.fixture
def stranger(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copies of those runs; a module that leaves a mark."""
    shutil.copytree(runs, tmp_path, dirs_exist_ok=True)
    (tmp_path / "stranger.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "r"


@pytest.mark.slow
@pytest.mark.parametrize("what", NAMES)
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_command_imports_what_a_manifest_names(
    harness: Terminal, stranger: Path, command: tuple[str, ...], what: str
) -> None:
    Forger(stranger).config(NAMES[what])
    harness(*command, plugins=False)
    assert not stranger.with_name("imported").exists()


@pytest.mark.parametrize("what", NAMES)
def test_resume_says_what_is_needed(harness: Terminal, stranger: Path, what: str) -> None:
    """Even if the run is one's own: that it was begun by one's own command nobody can see."""
    Forger(stranger).config(NAMES[what])
    before = {path: path.read_bytes() for path in stranger.rglob("*") if path.is_file()}
    assert harness("resume", "r", plugins=False) == 2
    assert f"names the {what} 'stranger:" in harness.err or "tests.stubs:" in harness.err
    assert "--plugins" in harness.err and "hint: add --plugins" in harness.err
    after = {path: path.read_bytes() for path in stranger.rglob("*") if path.is_file()}
    assert after == before


def test_the_flag_has_it_imported(harness: Terminal, stranger: Path) -> None:
    Forger(stranger).config(NAMES["strategy"])
    assert harness("resume", "r", "--plugins") == 2 and "cannot be imported" in harness.err
    assert stranger.with_name("imported").exists()


def test_one_s_own_run_goes_on_with_the_flag(harness: Terminal, tmp_path: Path) -> None:
    make_stub_suite(tmp_path)
    assert harness("run", *STUB, "--model", "stub.toml", "--budget", "2", "--out", "r") == 0
    Forger(tmp_path / "r").manifest(lambda fields: fields.update(state="running"))
    assert harness("show", "r") == 0 and "resume r --plugins\n" in harness.out
    assert harness("resume", "r", plugins=False) == 2
    assert harness("resume", "r", "--plugins") == 0


@pytest.mark.parametrize("what", NAMES)
def test_nor_does_python_code_that_reads_a_run(stranger: Path, what: str) -> None:
    Forger(stranger).config(NAMES[what])
    manifest = Manifest.read(stranger / "manifest.json")
    assert len(package.load(stranger))
    reads: list[Callable[[str], object]] = [
        lambda _: analyse([stranger]),
        lambda out: export(stranger, stranger.with_name(out)),
        lambda _: read_prompts(Forger(stranger).folder, manifest),
    ]
    for read in reads:  # the run keeps its prompts, so that no code is needed for them
        read("images")
    (stranger / "prompts.jsonl").unlink()  # the first programs kept none
    for read in reads:
        with pytest.raises(HarnessError):
            read("more")
    with pytest.raises(ImportRefused, match="--plugins only"):
        replan(read_config(json.loads(json.dumps(manifest.config))))
    assert not stranger.with_name("imported").exists()


@pytest.mark.slow
def test_a_built_in_strategy_needs_no_flag(harness: Terminal, tmp_path: Path) -> None:
    make_stub_suite(tmp_path)
    assert harness("run", *STUB, "--model", "stub.toml", "--budget", "2", "--out", "r") == 0
    for command in (["report", "r", "--out", "page"], ["compare", "r", "r"], ["show", "r"]):
        assert harness(*command, plugins=False) == 0, harness.err
