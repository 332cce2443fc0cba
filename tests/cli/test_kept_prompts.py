"""A run goes by the prompts that it keeps, whatever becomes of where they came from."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.shared import SHARED, needs_shared
from tests.terminal import Terminal

CASE = "cases/01_export_after_edited_prompt_file"
TEXT = '{"prompt": "a red cat", "tag": "x", "k": 1}\n{"prompt": "a blue dog", "tag": "y"}\n'
EDITED = '{"prompt": "a zebra"}\n' + TEXT


@pytest.fixture
def finished(harness: Terminal, suite: Path) -> list[str | Path]:
    """A run over a prompt file, in the folder r; returns the command."""
    Path("p.jsonl").write_text(TEXT)
    command = ["run", "--model", suite, "--benchmark", "prompt-file", "-B", "path=p.jsonl",
               "--budget", "2", "--out", "r"]  # fmt: skip
    assert harness(*command) == 0, harness.err
    return command


def files(folder: str) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()
    }


CHANGES: dict[str, Callable[[Path], object]] = {
    "edited": lambda path: path.write_text(EDITED),
    "deleted": lambda path: path.unlink(),
    "broken": lambda path: path.write_text("{]\n"),
}


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_what_becomes_of_the_source_changes_nothing(
    harness: Terminal, finished: list[str | Path], change: str
) -> None:
    commands = [
        ["show", "r"],
        ["audit", "r", "--regenerate", "0", "--rescore", "0", "--plugins"],
        ["bundle", "r", "--plugins", "--out", "r.zip"],
        ["ls", "runs", "--root", "."],
    ]
    assert harness("export", "r", "--out", "before") == 0
    output = []
    for command in commands:
        assert harness(*command) == 0, harness.out + harness.err
        output.append(harness.out)
    CHANGES[change](Path("p.jsonl"))
    assert harness("export", "r", "--out", "after") == 0
    assert files("before") == files("after")
    for command, before in zip(commands, output, strict=True):
        assert harness(*command) == 0, harness.out + harness.err
        if command[0] != "audit":  # which says that the source has changed
            assert harness.out == before
    assert harness("audit", "r.zip", "--regenerate", "0", "--rescore", "0", "--plugins") == 0


def test_a_run_whose_source_is_gone_goes_on(
    harness: Terminal, finished: list[str | Path], suite: Path
) -> None:
    log = next(Path("r/log").glob("candidates*"))
    log.write_bytes(log.read_bytes()[:-1])
    assert harness("repair", "r") == 0
    Path("p.jsonl").unlink()
    assert harness("resume", "r") == 0, harness.err
    assert "2 of 2" in harness.out


def test_an_edited_source_is_another_run(harness: Terminal, finished: list[str | Path]) -> None:
    Path("p.jsonl").write_text(EDITED)
    before = files("r")
    for again in (finished, ["resume", "r"]):
        assert harness(*again) == 2
        assert "was started with other prompts" in harness.err
    assert files("r") == before


def test_damage_is_named_by_every_command_and_mended(
    harness: Terminal, finished: list[str | Path]
) -> None:
    saved = Path("r/prompts.jsonl")
    whole = saved.read_bytes()
    for damage in (whole.replace(b"cat", b"cow"), b""):
        saved.write_bytes(damage)
        for command in (["show", "r"], ["export", "r", "--out", "x"], ["resume", "r"], finished):
            assert harness(*command) == 1, command
            assert "prompts.jsonl is damaged" in harness.err and "repair" in harness.err
        assert harness("audit", "r", "--regenerate", "0", "--rescore", "0", "--plugins") == 1
        assert "prompts.jsonl is damaged" in harness.out
        assert harness("repair", "r") == 0
        assert "2 prompts were written again" in harness.out
        assert saved.read_bytes() == whole and Path("r/damaged/prompts.jsonl").exists()
        assert harness("show", "r") == 0 and "resume" not in harness.out
        Path("r/damaged/prompts.jsonl").unlink()
    assert harness("repair", "r") == 0 and "nothing is damaged" in harness.out


def test_what_cannot_be_had_again_is_set_aside_and_said(
    harness: Terminal, finished: list[str | Path]
) -> None:
    Path("r/prompts.jsonl").write_text("[]\n")
    Path("p.jsonl").write_text(EDITED)
    assert harness("repair", "r") == 0
    assert "cannot be had again: their source gives other ones now" in harness.out
    assert harness("show", "r") == 0
    assert harness("export", "r", "--out", "x") == 1
    assert "keeps no prompts" in harness.err and not Path("x").exists()


def test_a_run_of_the_first_programs_is_held_to_its_digest(
    harness: Terminal, finished: list[str | Path]
) -> None:
    Path("r/prompts.jsonl").unlink()
    assert harness("export", "r", "--out", "right") == 0
    Path("p.jsonl").write_text(EDITED)
    assert harness("export", "r", "--out", "wrong") == 1
    assert "gives other prompts now than it was started with" in harness.err
    assert not Path("wrong").exists()
    Path("p.jsonl").unlink()
    assert harness("audit", "r", "--regenerate", "0", "--rescore", "0", "--plugins") == 0
    assert re.search(r"^completeness .* claimed  .*could not be built", harness.out, re.MULTILINE)
    Path("p.jsonl").write_text(TEXT)
    assert harness("resume", "r") == 0
    row = json.loads(Path("right/00000/metadata.jsonl").read_text())
    assert row == {"tag": "x", "k": 1, "prompt": "a red cat"}


def test_what_a_killed_driver_left_before_the_manifest_is_no_obstacle(
    harness: Terminal, finished: list[str | Path]
) -> None:
    shutil.rmtree("r")
    Path("r").mkdir()
    Path("r/prompts.jsonl").write_text('["0", "of another run", "", {}]\n')
    Path("r/.lock").touch()
    assert harness(*finished) == 0, harness.err
    assert "a red cat" in Path("r/prompts.jsonl").read_text()


@pytest.mark.slow
@needs_shared(CASE)
def test_scores_of_an_export_are_the_same_after_an_edit(harness: Terminal) -> None:
    shutil.copy(SHARED / CASE / "before.jsonl", "list.jsonl")
    assert harness("run", "--model", "miniature-even", "--benchmark", "prompt-file", "-B",
                   "path=list.jsonl", "--strategy", "single", "--judge", "none", "--budget", "1",
                   "--threads", "1", "--out", "run") == 0, harness.err  # fmt: skip
    output = []
    for name in ("before", "after"):
        shutil.copy(SHARED / CASE / f"{name}.jsonl", "list.jsonl")
        assert harness("export", "run", "--out", f"images_{name}") == 0
        assert harness("score", f"images_{name}", "--threads", "1", "--out", name) == 0
        output.append([line for line in harness.out.splitlines() if line.startswith("micro")])
    assert output[0] == output[1] and "0.833" in output[0][0]
