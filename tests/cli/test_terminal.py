"""What a log holds reaches the terminal as text: nothing in it is obeyed, nothing forges a line."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.cli.terminal import guarded, printable
from harness.errors import HarnessError
from harness.log.manifest import Manifest
from tests.terminal import ROOT, Terminal

EVIL = "\x1b]0;x\x07\x1b[2Jred\u202ecod\x9b31m [red]a[/red]\r\n0 of 18 checks fail\u2028\x00\u200b"
FORGED = re.compile(r"^\W*0 of 18 checks fail", re.MULTILINE)
OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2028\u2029]")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a cat", "a cat"),
        ("macro 0.8–0.9 · × Ünïcode 猫 😀", "macro 0.8–0.9 · × Ünïcode 猫 😀"),
        ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
        ("\x1b[31m\x9b\x7f\x00", "\\x1b[31m\\x9b\\x7f\\x00"),
        ("\u202eabc\u2066\u200b\u2028\ufeff", "\\u202eabc\\u2066\\u200b\\u2028\\ufeff"),
        ("\ud800", "\\ud800"),
        (Path("a\nb"), "a\\nb"),
    ],
)
def test_a_value_is_one_line_of_what_can_be_seen(value: object, text: str) -> None:
    assert printable(value) == text


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_stream_shows_what_a_terminal_would_obey(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream, colour in ((io.StringIO(), False), (Screen(), True)):
        monkeypatch.setattr(sys, "stdout", stream)
        with guarded():
            print(EVIL)
            click.echo(EVIL, color=True)
            print("\x1b[1;31mred\x1b[0m \x1b[8mhidden")
        text = stream.getvalue()
        assert sys.stdout is stream
        assert (
            OBEYED.search(text.replace("\x1b[1;31m", "").replace("\x1b[0m", "").replace("\r", ""))
            is None
        )
        assert ("\x1b[1;31mred" in text) is colour and "\\x1b[8mhidden" in text


def test_a_table_on_a_screen_keeps_its_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with guarded():
        table = Table(box=None, header_style="dim")
        table.add_column("x")
        table.add_row(Text("bad", style="bold red"))
        Console(force_terminal=True).print(table)
    assert "\x1b[1;31mbad" in screen.getvalue() and "\\x1b" not in screen.getvalue()


@pytest.mark.slow
def test_no_command_lets_a_log_speak_for_it(harness: Terminal, suite: Path) -> None:
    rows = [{"prompt": EVIL, "tag": EVIL, "id": "0"}, {"prompt": "a dog", "tag": "t", "id": "1"}]
    Path("p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["run", "--model", suite, "--benchmark", "prompt-file", "-B", "path=p.jsonl"]
    outputs = []
    for arguments in (
        [*command, "--out", "r"],
        [*command, "--out", "s", "--seed", "1"],
        ["show", "r"],
        ["ls", "runs", "--root", "."],
        ["audit", "r", "--regenerate", "0", "--rescore", "0"],
        ["resume", "r"],
        ["report", "r", "s", "--out", "page", "--separate-seeds"],
        ["compare", "r", "s", "--separate-seeds"],
        ["export", "r", "--out", "images"],
        ["repair", "r"],
        ["show", EVIL.replace("\x00", "").replace("\r", "")],
        ["run", "--model", EVIL.replace("\x00", "")],
    ):
        assert harness(*arguments) in (0, 1, 2)
        outputs.append(harness.out + harness.err)
    assert Manifest.read(Path("r/manifest.json")).state == "finished"
    for output in outputs:
        assert FORGED.search(output) is None
        assert OBEYED.search(output.replace("\r", "")) is None


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_an_encoding_that_lacks_a_character_is_no_traceback(encoding: str) -> None:
    run = ROOT / "results" / "reference" / "single-0"
    done = subprocess.run(
        [sys.executable, "-m", "harness", "show", str(run)],
        env={
            **os.environ,
            "PYTHONIOENCODING": encoding,
            "PYTHONUTF8": "0",
            "PYTHONPATH": str(ROOT),
        },
        capture_output=True,
        check=True,
    )
    assert b"macro" in done.stdout and not done.stderr


@pytest.mark.sampled(1)
@pytest.mark.parametrize("stream", [1, 2])
def test_a_stream_that_is_closed_takes_nothing_and_stops_nobody(stream: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "harness", "ls", "strategies"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        preexec_fn=lambda: os.close(stream),
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr
    assert ("best-of-n" in done.stdout) is (stream == 2)


def test_an_output_that_cannot_be_written_is_a_sentence() -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run(
            [sys.executable, "-m", "harness", "ls", "strategies"],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert (done.returncode, done.stderr) == (1, "error: No space left on device\n")


def test_a_name_that_no_file_system_takes_is_a_sentence(harness: Terminal) -> None:
    path = f"{'n' * 5000}.jsonl"
    options = ("--benchmark", "prompt-file", "-B", f"path={path}", "--judge", "none")
    assert harness("run", *options) == 1
    assert harness.err.startswith("error: nnn") and "File name too long" in harness.err


@pytest.mark.parametrize(
    ("arguments", "status"), [(["nosuch"], 2), (["ls", "--nosuch"], 2), (["show", "nosuch"], 2)]
)
def test_the_exit_code_holds_where_stderr_takes_no_word(
    arguments: list[str], status: int, tmp_path: Path
) -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "harness", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=tmp_path, env=environment, stderr=full, timeout=120)
    assert done.returncode == status


ENDLESS = ["x" * 100_000, "x " * 30_000, "x/" * 30_000]


@pytest.mark.parametrize("name", ENDLESS, ids=["one word", "words", "folders"])
@pytest.mark.parametrize(
    "command",
    [
        ["run", "--strategy"],
        ["run", "--model"],
        ["run", "--benchmark"],
        ["run", "--dtype"],
        ["run", "--strategy", "best-of-n", "-S"],
        ["show"],
        [],
    ],
    ids=" ".join,
)
def test_an_endless_name_is_not_said_whole(
    harness: Terminal, command: list[str], name: str
) -> None:
    assert harness(*command, name) in (1, 2)
    assert "Error: " in harness.err or "error: " in harness.err
    assert len(harness.err) < 6_000 and "…" in harness.err


def test_names_that_files_have_are_said_whole() -> None:
    path = "/".join(["n" * 255] * 4)
    assert HarnessError(f"cannot read {path}").message == f"cannot read {path}"
