"""The command line as a person meets it: what it prints, where, and what it exits with."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import HarnessError, Interrupted
from harness.log.lock import exclusive
from harness.log.run_folder import RunFolder
from harness.log.store import LogWriter, read
from harness.models.leakage import LABEL as LEAKS
from tests.runs import contents
from tests.stubs import make_stub_suite
from tests.terminal import PATIENCE, ROOT, SMALL_SHARDS, STUB, Terminal, start, wait_until


def test_run_show_resume_and_ls(harness: Terminal, suite: Path) -> None:
    assert harness("run", "--model", suite, *STUB, "--budget", 3, "--out", "r") == 0
    for piece in ("macro", "micro", "even", "odd", "10 of 10", "30 (3.00 a search)", "results   r"):
        assert piece in harness.out
    assert "miniature" in harness.out
    first, look, _ = harness.out.partition("look  ")
    assert look and harness("show", "r") == 0 and harness.out == first
    assert harness("resume", "r") == 0 and "already finished" in harness.err
    assert harness.out == first
    assert harness("ls", "runs", "--root", ".") == 0 and "finished" in harness.out


@pytest.mark.slow
def test_ls_runs_is_one_line_a_run_whatever_else_lies_there(
    harness: Terminal, suite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert harness("run", "--model", suite, *STUB, "--budget", 3, "--seed", 7, "--out", "a") == 0
    for name, text in {"bad": "[" * 10**5, "worse": "{}"}.items():
        Path(name).mkdir()
        Path(name, "manifest.json").write_text(text)
    Path("linked").mkdir()
    Path("linked", "manifest.json").symlink_to(Path("a", "manifest.json").resolve())
    fields = json.loads(Path("a/manifest.json").read_text())
    shutil.copytree("a", "b")
    Path("b/manifest.json").write_text(json.dumps({**fields, "state": "running"}))
    assert harness("ls", "runs", "--root", ".") == 0
    head, a, b, bad, linked, worse = harness.out.splitlines()
    assert head.split()[:2] == ["run", "state"] and "micro, 95% interval" in head
    assert a.split()[:2] == ["a", "finished"] and "best-of-n (select=score) · budget 3" in a
    assert "10 of 10" in a and "  7  " in a and fields["created"][:10] in a
    assert b.split()[:2] == ["b", "stopped"]
    for line in (bad, linked, worse):
        assert line.split()[1] == "unreadable" and line.split()[0] in {"bad", "linked", "worse"}
    with exclusive(Path("b")):
        code = "import sys; from harness.__main__ import main; main()"
        listed = start(["ls", "runs", "--root", "b"], Path.cwd(), code=code).communicate()[0]
    assert listed.splitlines()[1].split()[:2] == ["b", "running"]


def test_draws_of_other_runs_are_reused_when_asked_for(harness: Terminal, suite: Path) -> None:
    few = ["--model", str(suite), *STUB, "--budget", "2"]
    assert harness("run", *few, "--out", "few") == 0 and "reused" not in harness.out
    more = ["--model", str(suite), *STUB, "--budget", "3"]
    assert harness("run", *more, "--reuse", "few", "--out", "more") == 0
    assert "reused    20 draws of run" in harness.out and "30 (3.00 a search)" in harness.out
    assert harness("resume", "more", "--reuse", "few") == 0 and "already finished" in harness.err
    assert harness("run", *few, "--seed", "1", "--reuse", "few", "--out", "other") == 2
    assert "few cannot be reused: it differs in seed" in harness.err
    assert harness("run", *few, "--reuse", "nowhere", "--out", "other") == 2
    assert "nowhere is not a run" in harness.err and not Path("other").exists()
    assert harness("run", *few, "--reuse", "nowhere", "--batch-size", "auto") == 2
    assert "measuring" not in harness.err


def test_who_was_stopped_is_told_to_reuse_the_same_runs(
    harness: Terminal, suite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = ["--model", str(suite), *STUB, "--budget", "2"]
    assert harness("run", *few, "--out", "a few") == 0

    def stopped(*_: object, **__: object) -> None:
        raise Interrupted("stopped before the end")

    monkeypatch.setattr("harness.cli.execute.work", stopped)
    assert harness("run", *few, "--reuse", "a few", "--out", "r") == 130
    assert "carry on with: python -m harness resume r --plugins --reuse 'a few'\n" in harness.err


def test_the_same_command_has_the_same_folder(harness: Terminal, suite: Path) -> None:
    command = ["run", "--model", str(suite), *STUB, "--budget", "1"]
    assert harness(*command) == 0
    (folder,) = Path("results").iterdir()
    assert harness(*command) == 0 and "already finished" in harness.err
    assert harness(*command, "--seed", "1") == 0
    assert len(list(Path("results").iterdir())) == 2 and folder.exists()


def test_plain_lines_without_colour_when_piped(harness: Terminal, suite: Path) -> None:
    harness("run", "--model", suite, *STUB, "--out", "r")
    assert "\x1b" not in harness.out + harness.err and "\r" not in harness.err


def test_ls_names_what_there_is(harness: Terminal) -> None:
    assert harness("ls", "strategies") == 0
    assert "best-of-n" in harness.out and "select=score" in harness.out
    assert harness("ls", "benchmarks") == 0 and "geneval" in harness.out
    assert harness("ls", "models") == 0
    assert "sana-1.0-1.6b" in harness.out and "looked in" in harness.out


@pytest.mark.parametrize(
    ("arguments", "says", "hint"),
    [
        (["--strategy", "best-of-m"], "unknown strategy 'best-of-m'", "did you mean 'best-of-n'?"),
        (["-S", "selekt=score"], "has no option 'selekt'", "did you mean 'select'?"),
        (["-S", "select=luck"], "cannot take -S select=luck", "select"),
        (["-S", "select"], "takes name=value", "-S rounds=3"),
        (["-S", "select=score", "-S", "select=score"], "given twice", "once"),
        (["--benchmark", "genevil"], "unknown benchmark 'genevil'", "did you mean 'geneval'?"),
        (["--model", "miniatur"], "unknown model 'miniatur'", "did you mean 'miniature'?"),
        (["--model", "none.toml"], "none.toml", ""),
        (["-G", "widht=8"], "has no option 'widht'", "did you mean 'width'?"),
        (["-G", "width=wide"], "width=wide", ""),
        (["--judge", "jury"], "unknown judge 'jury'", ""),
        (["--scorer", "detektor=x"], "no part 'detektor'", ""),
        (["--tags", "evn"], "no prompt has the tag 'evn'", "did you mean 'even'?"),
        (["-B", "size=few"], "-B size=few", ""),
        (["--gpu-share", "generater=1"], "unknown role 'generater'", "generator"),
        (["--gpu-share", "generator=all"], "takes a number", ""),
        (["--deadline", "nan"], "number of seconds, got 'nan'", "0 is no limit"),
        (["--device", "cuda"], "no CUDA device", "--device cpu"),
        (["--workers", "2", "--executor", "inline"], "one worker", "ray"),
        (["--checkpoint", "./nowhere"], "nowhere", ""),
    ],
)
def test_a_bad_request_is_a_sentence_a_hint_and_nothing_else(
    harness: Terminal, suite: Path, arguments: list[str], says: str, hint: str
) -> None:
    before = sorted(Path().rglob("*"))
    base = ["run", "--model", str(suite), *STUB, "--out", "r"]
    assert harness(*base, *arguments) in (1, 2)
    assert harness.out == ""
    error, *hints = harness.err.strip().splitlines()
    assert error.startswith("error: ") and says in error
    assert hint in "".join(hints)
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize(
    "arguments",
    [["--budget", "0"], ["--limit", "-1"], ["--replicates", "x"], ["--keep-images", "some"],
     ["--seed", "-1"], ["--nonsense"]],
)  # fmt: skip
def test_a_bad_flag_exits_with_2(harness: Terminal, suite: Path, arguments: list[str]) -> None:
    assert harness("run", "--model", suite, *STUB, "--out", "r", *arguments) == 2
    assert "Error" in harness.err and not Path("r").exists()


def test_unknown_commands_get_a_suggestion(harness: Terminal) -> None:
    assert harness("rum") == 2
    assert "unknown command 'rum'" in harness.err and "did you mean 'run'" in harness.err


@pytest.mark.parametrize("command", ["show", "resume"])
def test_a_folder_that_is_no_run(harness: Terminal, command: str) -> None:
    Path("empty").mkdir()
    assert harness(command, "empty") == 2
    assert "not a run" in harness.err and "hint:" in harness.err


def test_a_run_that_cannot_start_leaves_no_folder(harness: Terminal, suite: Path) -> None:
    from tests.stubs import Faults

    Faults(suite.parent / "faults").add("load", "error", 0)
    assert harness("run", "--model", suite, *STUB, "--out", "r") == 1
    assert "cannot be loaded" in harness.err and not Path("r").exists()


def test_another_configs_folder_is_left_alone(harness: Terminal, suite: Path) -> None:
    base = ["run", "--model", str(suite), *STUB, "--out", "r"]
    assert harness(*base) == 0
    before = {p: p.read_bytes() for p in Path("r").rglob("*") if p.is_file()}
    assert harness(*base, "--budget", "2") == 2
    assert "belongs to another config" in harness.err and "budget" in harness.err
    assert before == {p: p.read_bytes() for p in Path("r").rglob("*") if p.is_file()}


def test_a_damaged_shard_is_named(harness: Terminal, suite: Path) -> None:
    assert harness("run", "--model", suite, *STUB, "--out", "r") == 0
    (shard,) = Path("r/log").glob("candidates-*")
    shard.write_bytes(shard.read_bytes()[:-7])
    assert harness("show", "r") == 1
    assert shard.name in harness.err and "hint:" in harness.err


@pytest.mark.parametrize("reason", [errno.EACCES, errno.EROFS])
def test_a_read_only_folder(
    harness: Terminal, suite: Path, monkeypatch: pytest.MonkeyPatch, reason: int
) -> None:
    # Permissions do not stop root, so the refusal itself is played.
    make = Path.mkdir

    def refuse(path: Path, *arguments: object, **options: object) -> None:
        if "locked" in path.parts:
            raise OSError(reason, os.strerror(reason))
        make(path, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert harness("run", "--model", suite, *STUB, "--out", "locked/r") == 1
    assert f"cannot write locked/r: {os.strerror(reason)}" in harness.err
    assert "--out" in harness.err and not Path("locked").exists()


def test_a_place_that_cannot_be_a_folder(harness: Terminal, suite: Path) -> None:
    Path("file").write_text("mine")
    assert harness("run", "--model", suite, *STUB, "--out", "file/r") == 1
    assert "cannot write" in harness.err and "--out" in harness.err
    assert harness("run", "--model", suite, *STUB, "--out", "file") == 2
    assert Path("file").read_text() == "mine"


def test_a_run_with_lost_searches_exits_with_1(harness: Terminal, suite: Path) -> None:
    from tests.stubs import Faults

    Faults(suite.parent / "faults").add("generator", "error", "on-thing 3")
    assert harness("run", "--model", suite, *STUB, "--out", "r") == 1
    assert "10 of 10, 1 failed" in harness.out and "4 × RuntimeError" in harness.out


def test_an_oracle_run_says_so(harness: Terminal, suite: Path) -> None:
    command = ["run", "--model", suite, *STUB, "--out", "r", "--judge", "oracle"]
    assert harness(*command) == 0
    assert "ORACLE" in harness.out and "ORACLE" in harness.err


def test_a_judge_that_shares_the_scorer_s_checkpoint_is_told(
    harness: Terminal, suite: Path
) -> None:
    """All stubs share one folder."""
    assert harness("run", "--model", suite, *STUB, "--out", "r") == 0
    assert LEAKS in harness.out and f"warning: {LEAKS}" in harness.err
    assert harness("show", "r") == 0 and LEAKS in harness.out
    alone = ["--judge", "none", "--strategy", "single"]
    assert harness("run", "--model", suite, *STUB, "--out", "q", *alone) == 0
    assert LEAKS not in harness.out + harness.err and "judge " not in harness.out


def test_prompt_files(harness: Terminal, suite: Path) -> None:
    Path("p.csv").write_text("prompt,tag\na red cat,x\na blue dog,y\n")
    base = ["run", "--model", str(suite), "--benchmark", "prompt-file", "--out", "r"]
    assert harness(*base, "-B", "path=p.csv") == 0
    assert "no scorer" in harness.out and "2 of 2" in harness.out
    Path("empty.csv").write_text("")
    Path("hole.jsonl").write_text('{"prompt": "a"}\n{"prompt": " "}\n')
    for path, says in (("empty.csv", "empty.csv"), ("hole.jsonl", "2"), ("none.csv", "none.csv")):
        assert harness(*base[:-1], "q", "-B", f"path={path}") == 2
        assert says in harness.err and "hint:" in harness.err


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize(
    "edited",
    [
        "prompt,tag\na red cat,x\na green dog,y\n",  # the same count, another text
        "prompt,tag\na red cat,x\na blue dog,x\n",  # another tag
        "prompt,tag\na red cat,x\na blue dog,y\na cow,y\n",
    ],
    ids=["text", "tag", "one-more"],
)
def test_changed_prompts_are_not_mixed_into_a_run(
    harness: Terminal, suite: Path, monkeypatch: pytest.MonkeyPatch, finished: bool, edited: str
) -> None:
    original = "prompt,tag\na red cat,x\na blue dog,y\n"
    Path("p.csv").write_text(original)
    command = ["run", "--model", suite, "--benchmark", "prompt-file", "-B", "path=p.csv"]
    command += ["--out", "r"]

    def full(log: LogWriter) -> None:
        raise HarnessError("stopped for the test")

    with monkeypatch.context() as patch:
        if not finished:
            patch.setattr(LogWriter, "compact", full)
        assert harness(*command) == (0 if finished else 1), harness.err
    before = {p: p.read_bytes() for p in Path("r").rglob("*") if p.is_file()}
    Path("p.csv").write_text(edited)
    for again in (command, ["resume", "r"]):
        assert harness(*again) == 2, harness.err
        assert "error: r was started with other prompts" in harness.err
        assert "hint: put the original prompts back" in harness.err
    assert before == {p: p.read_bytes() for p in Path("r").rglob("*") if p.is_file()}
    Path("p.csv").write_text(original)
    assert harness("resume", "r") == 0 and harness(*command) == 0
    assert "2 of 2" in harness.out


LONG = [*STUB, "-B", "size=90", "--budget", "4", "--keep-images", "none"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that signals stop below."""
    root = tmp_path_factory.mktemp("undisturbed")
    suite, _ = make_stub_suite(root)
    process = start(["run", "--model", str(suite), *LONG, "--out", "r"], root)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    return root / "r"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_stops_and_resume_finishes(tmp_path: Path, undisturbed: Path, number: int) -> None:
    suite, faults = make_stub_suite(tmp_path)
    faults.add("generator", "hold", "on-thing 45")  # so that it cannot come to its end before
    base = ["run", "--model", str(suite), *LONG, "--out", "r"]
    process = start(base, tmp_path, code=SMALL_SHARDS)
    wait_until(lambda: list((tmp_path / "r" / "log").glob("candidates-*")), process)
    process.send_signal(number)
    faults.release()
    _, err = process.communicate(timeout=PATIENCE)
    rows = read(RunFolder(tmp_path / "r").log, "candidates").num_rows
    assert 0 < rows < 360, "it was in the middle of its work"
    if number == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
        command = ["resume", "r", "--plugins"]
    else:
        assert process.returncode == 130
        result = re.search(r"carry on with: python -m harness (resume \S+ --plugins)", err)
        assert result, err
        command = result[1].split()
    again = start(command, tmp_path)
    out, err = again.communicate(timeout=PATIENCE)
    assert again.returncode == 0, err
    assert "90 of 90" in out
    assert contents(tmp_path / "r") == contents(undisturbed)


def test_help_is_quick_and_heavy_things_stay_unimported() -> None:
    code = (
        "import sys; from harness.cli import cli; import contextlib, io\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        "    cli.main(['--help'], standalone_mode=False)\n"
        "print([m for m in ('torch','ray','pandas','pyarrow','diffusers','pydantic','rich')"
        " if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
