"""Damaged logs as a person meets them: named in one sentence, and the intact rest usable."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from harness.errors import HarnessError
from harness.log import shards, store
from harness.log.manifest import Manifest
from harness.log.run_folder import RunFolder
from harness.log.schema import SCHEMA_VERSION, TABLES
from harness.log.store import LogWriter
from tests.runs import contents
from tests.terminal import STUB, Terminal

pytestmark = pytest.mark.slow

SEARCHES, BUDGET = 10, 3


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "SHARD_ROWS", 6)


def run_options(suite: Path) -> list[str | Path]:
    return ["run", "--model", suite, *STUB, "--budget", str(BUDGET)]


@pytest.fixture
def whole(harness: Terminal, suite: Path) -> Path:
    """An undisturbed run."""
    assert harness(*run_options(suite), "--out", "whole") == 0
    return Path("whole")


@pytest.fixture
def stopped(harness: Terminal, suite: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that ended before its shards were merged."""
    with monkeypatch.context() as patch:
        patch.setattr(LogWriter, "compact", stop)
        assert harness(*run_options(suite), "--out", "r") == 1
    assert len(files(Path("r"))) > 4
    return Path("r")


def stop(*arguments: object) -> None:
    raise HarnessError("stopped for the test")


def files(run: Path, table: str = "candidates") -> list[Path]:
    return [shard.path for shard in shards.discover(RunFolder(run).log, table)]


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(bytes(data))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def lose(path: Path) -> None:
    path.unlink()


READERS: list[list[str]] = [
    ["show", "{}"],
    ["resume", "{}"],
    ["report", "{}", "--out", "page"],
    ["compare", "whole", "{}"],
    ["export", "{}", "--format", "geneval", "--out", "images"],
    ["simulate", "--gpus", "2", "--from", "{}"],
]


def audit(harness: Terminal, run: Path) -> list[str]:
    """The checks that fail, with their evidence; stubs share their faults, which is a leak."""
    harness("audit", run, "--regenerate", 0, "--rescore", 0, "--plugins")
    lines = harness.out.splitlines()
    return [line for line in lines if re.search(r"^\S* .* fail  ", line) and "leakage" not in line]


def refused(harness: Terminal, run: Path, says: str, commands: list[list[str]]) -> None:
    """Every command names what is wrong, in a line and a hint, and touches no row or image."""

    def content() -> dict[Path, bytes]:
        there = [path for path in run.rglob("*/*") if path.is_file()]
        return {path: path.read_bytes() for path in there}

    before = content()
    state = Manifest.read(run / "manifest.json").state
    for command in commands:
        assert harness(*(word.format(run) for word in command)) == 1, (command, harness.out)
        errors = [line for line in harness.err.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1 and says in errors[0], (command, harness.err)
        assert f"or keep the intact rest: python -m harness repair {run}" in harness.err
        assert not Path("page").exists() and not Path("images").exists()
    assert content() == before and Manifest.read(run / "manifest.json").state == state


def mended(harness: Terminal, run: Path, whole: Path, names: list[str]) -> None:
    """After a repair, the rest is an unfinished run, said to be one, that comes to its end."""
    assert harness("repair", run) == 0, harness.err
    output = harness.out
    assert all(name in output for name in names), output
    result = re.search(r"left +(\d+) candidates; (\d+) of 10 searches have ended", output)
    assert result, output
    ended = int(result[2])
    assert ended < SEARCHES
    assert harness("show", run) == 0 and f"{ended} of {SEARCHES}" in harness.out
    assert "resume    python -m harness resume" in harness.out
    assert f"complete   python -m harness resume {run}" in output
    assert harness("resume", run) == 0, harness.err
    assert contents(run) == contents(whole)
    assert harness("repair", run) == 0 and "nothing is damaged" in harness.out


@pytest.mark.slow
def test_every_command_names_a_damaged_shard_and_can_use_the_rest(
    harness: Terminal, stopped: Path, whole: Path
) -> None:
    shard = files(stopped)[1]
    flip(shard)
    refused(harness, stopped, f"{shard.name} is damaged", READERS)
    assert any(line.startswith("files") for line in audit(harness, stopped)), harness.out
    assert shard.name in harness.out
    assert harness("repair", stopped) == 0
    result = re.search(r"(\d+) of 10 searches have ended, (\d+) that had", harness.out)
    assert result and int(result[2]) > 0
    for command in READERS[2:5]:
        assert harness(*(word.format(stopped) for word in command)) in (0, 1), harness.err
        assert f"{result[1]} of {SEARCHES}" in harness.out + harness.err, harness.out
    assert [line.split()[0] for line in audit(harness, stopped)] == ["images", "completeness"]
    assert harness("resume", stopped) == 0
    assert contents(stopped) == contents(whole) and not audit(harness, stopped), harness.out


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("table", "damage"), [("candidates", cut), ("searches", flip), ("candidates", empty)]
)
def test_a_damaged_shard_of_an_unfinished_run(
    harness: Terminal, stopped: Path, whole: Path, table: str, damage: Callable[[Path], None]
) -> None:
    shard = files(stopped, table)[0]
    original = shard.read_bytes()
    damage(shard)
    broken = shard.read_bytes()
    refused(harness, stopped, f"{shard.name} is damaged", READERS[:2])
    mended(harness, stopped, whole, [shard.name])
    assert original != broken == (stopped / "damaged" / shard.name).read_bytes()


@pytest.mark.parametrize(
    ("place", "says"),
    [
        (0, "shard 000001 of table 'candidates' is missing"),
        # No number is skipped here, but searches lack their candidates.
        (-1, "a shard of table 'candidates' is missing"),
    ],
)
def test_a_missing_shard_of_an_unfinished_run(
    harness: Terminal, stopped: Path, whole: Path, place: int, says: str
) -> None:
    files(stopped)[place].unlink()
    refused(harness, stopped, says, READERS[:2])
    mended(harness, stopped, whole, [])


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("table", "damage"), [("candidates", flip), ("candidates", lose), ("searches", lose)]
)
def test_a_damaged_shard_of_a_finished_run(
    harness: Terminal, suite: Path, whole: Path, table: str, damage: Callable[[Path], None]
) -> None:
    assert harness(*run_options(suite), "--out", "r") == 0
    (shard,) = files(Path("r"), table)
    damage(shard)
    refused(harness, Path("r"), shard.name, READERS[:2])
    # The same command does not take it for finished and well either.
    assert harness(*run_options(suite), "--out", "r") == 1 and shard.name in harness.err
    mended(harness, Path("r"), whole, [shard.name])


def test_searches_that_lost_a_draw_and_let_their_images_go_are_made_again(
    harness: Terminal, suite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = [*run_options(suite), "--strategy", "reflect", "--keep-images", "selected"]
    assert harness(*options, "--out", "whole") == 0
    with monkeypatch.context() as patch:
        patch.setattr(LogWriter, "compact", stop)
        assert harness(*options, "--out", "r") == 1
    shard = files(Path("r"))[2]
    flip(shard)
    mended(harness, Path("r"), Path("whole"), [shard.name])
    saved = [sorted(p.name for p in Path(run, "images").glob("*/*")) for run in ("r", "whole")]
    assert saved[0] == saved[1]


def test_a_large_run_loses_no_more_than_a_merged_shard(
    harness: Terminal, suite: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MERGED_ROWS", 12)
    assert harness(*run_options(suite), "--out", "r") == 0
    first, second, *_ = files(Path("r"))
    assert contents(Path("r")) == contents(whole)
    flip(second)
    assert harness("repair", "r") == 0
    result = re.search(r"left +(\d+) candidates", harness.out)
    assert result and 0 < int(result[1]) < SEARCHES * BUDGET
    assert first.exists() and harness("resume", "r") == 0
    assert contents(Path("r")) == contents(whole)


def test_a_newer_schema_is_no_damage(
    harness: Terminal, stopped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older program must not set aside what a newer one wrote."""
    path = stopped / "manifest.json"
    text = path.read_text()
    newer = {**json.loads(text), "schema_version": SCHEMA_VERSION + 1}
    path.write_text(json.dumps(newer))
    commands = [["show", "r"], ["resume", "r"], ["repair", "r"], ["report", "r", "--out", "page"]]
    for command in commands:
        assert harness(*command) == 1, command
        assert f"schema version {SCHEMA_VERSION + 1}; this program reads up to" in harness.err
        assert "hint: update the harness" in harness.err
    path.write_text(text)
    with monkeypatch.context() as patch:
        patch.setattr(shards, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
        log = LogWriter(stopped / "log")
        log.append("searches", {"run": "r", "prompt_id": "later", "replicate": 0, "draws": 0})
        log.flush()
    before = sorted(stopped.rglob("*"))
    for command in commands:
        assert harness(*command) == 1, command
        assert "schema version" in harness.err and "update the harness" in harness.err
    assert sorted(stopped.rglob("*")) == before


@pytest.mark.parametrize("text", ["", "{", '{"schema_version": 1}'])
def test_a_damaged_manifest(harness: Terminal, whole: Path, text: str) -> None:
    before = {path: path.read_bytes() for path in Path("whole/log").iterdir()}
    Path("whole/manifest.json").write_text(text)
    for command in (["show"], ["resume"], ["repair"], ["report", "--out", "page"]):
        assert harness(command[0], "whole", *command[1:]) == 1
        assert re.search(r"error: whole/manifest\.json", harness.err), harness.err
    assert before == {path: path.read_bytes() for path in Path("whole/log").iterdir()}


@pytest.mark.parametrize("part", ["config", "digest"])
def test_a_manifest_whose_config_was_changed_is_not_believed(
    harness: Terminal, stopped: Path, whole: Path, suite: Path, part: str
) -> None:
    path = stopped / "manifest.json"
    fields = json.loads(path.read_text())
    if part == "config":
        fields["config"]["seed"] ^= 4
    else:
        fields["config_digest"] = "0" + fields["config_digest"][1:]
    path.write_text(json.dumps(fields))
    again = [str(word) for word in run_options(suite)]
    for command in [*READERS, ["compare", "{}", "whole"], ["repair", "{}"], [*again, "--out", "r"]]:
        assert harness(*(word.format(stopped) for word in command)) == 1, (command, harness.out)
        assert "error: r/manifest.json is damaged: its config does not match" in harness.err
        assert "hint: " in harness.err
    assert harness("ls", "runs", "--root", ".") == 0
    assert re.search(r"^r +unreadable .*r/manifest\.json is damaged", harness.out, re.MULTILINE)
    failed = audit(harness, stopped)
    assert failed[0].startswith("manifest") and "the config's digest is" in harness.out
    assert "\nfiles " in harness.out and " 0 files" not in harness.out, harness.out


@pytest.mark.parametrize(
    ("reason", "hint", "after"),
    [
        (errno.ENOSPC, "free some space", 0),
        (errno.ENOSPC, "free some space", 20),
        (errno.EROFS, "--out", 3),
    ],
)
def test_a_disk_that_stops_taking_files(
    harness: Terminal,
    suite: Path,
    whole: Path,
    monkeypatch: pytest.MonkeyPatch,
    reason: int,
    hint: str,
    after: int,
) -> None:
    """Full, or remounted read-only, after so many files; resumed when there is room again."""
    replace, left = os.replace, [after]

    def refuse(source: object, target: object) -> None:
        if not left[0]:
            raise OSError(reason, os.strerror(reason))
        left[0] -= 1
        replace(source, target)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refuse)
        assert harness(*run_options(suite), "--out", "r") == 1
        result = re.search(r"^error: cannot write r/\S+: (.*)$", harness.err, re.M)
        assert result and result[1] == os.strerror(reason), harness.err
        assert hint in harness.err
    assert not list(Path("r").rglob(".tmp-*"))
    if after:
        command = re.search(r"carry on with: python -m harness (resume \S+)", harness.err)
        assert command, harness.err
        assert harness(*command[1].split()) == 0
    else:
        assert harness(*run_options(suite), "--out", "r") == 0
    assert contents(Path("r")) == contents(whole)


@pytest.mark.slow
def test_a_read_only_run_can_be_read(
    harness: Terminal, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.log import files as writing

    write = writing.write_atomically

    def refuse(path: Path, data: bytes, **options: Any) -> None:
        if "whole" in path.parts:
            raise writing.explain(OSError(errno.EROFS, os.strerror(errno.EROFS)), path)
        write(path, data, **options)

    for module in ("files", "manifest", "shards", "images"):
        monkeypatch.setattr(f"harness.log.{module}.write_atomically", refuse)
    assert harness("show", "whole") == 0
    assert harness("report", "whole", "--out", "page") == 0


def test_two_files_that_claim_the_same_rows(harness: Terminal, stopped: Path, whole: Path) -> None:
    """What two drivers would leave behind where no lock could keep them apart."""
    log = RunFolder(stopped).log
    shard = shards.discover(log, "candidates")[1]
    rival = shards.write(log, "candidates", *shard.range, shards.read(shard, "candidates")[:2])
    refused(harness, stopped, "covers what another shard covers", READERS[:1])
    assert harness("repair", stopped) == 0
    assert "covers what another shard covers" in harness.out
    assert harness("resume", stopped) == 0
    assert contents(stopped) == contents(whole)
    assert len(list((stopped / "damaged").iterdir())) >= 1 and rival.first == shard.first


def test_two_files_that_claim_some_of_the_same_rows(
    harness: Terminal, stopped: Path, whole: Path
) -> None:
    """The same, where one of the drivers had merged its shards."""
    log = RunFolder(stopped).log
    assert harness("show", stopped) == 0
    before = harness.out
    first, second, third, *_ = shards.discover(log, "candidates")
    rows = [shards.read(shard, "candidates") for shard in (first, second, third)]
    shards.write(log, "candidates", first.first, second.last, pa.concat_tables(rows[:2]))
    other = shards.write(log, "candidates", second.first, third.last, pa.concat_tables(rows[1:]))
    says = f"{other.path.name} in {log} covers part of what another shard covers"
    refused(harness, stopped, says, READERS)
    assert any(line.startswith("files") for line in audit(harness, stopped)), harness.out
    # What the other driver's shard was merged from is still there and takes its place.
    assert harness("repair", stopped) == 0, harness.err
    assert f"{other.path.name} covers part of what another shard covers" in harness.out
    assert [path.name for path in (stopped / "damaged").iterdir()] == [other.path.name]
    assert harness("show", stopped) == 0 and harness.out == before
    assert harness("resume", stopped) == 0, harness.err
    assert contents(stopped) == contents(whole)


def test_an_interrupted_repair_is_given_again(
    harness: Terminal, stopped: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flip(files(stopped)[0])
    flip(files(stopped)[2])
    for after in range(6):
        rename, left = Path.rename, [after]

        def crash(path: Path, target: Path, left: list[int] = left, rename: Any = rename) -> Path:
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            return Path(rename(path, target))

        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", crash)
            harness("repair", stopped)
    assert harness("repair", stopped) == 0
    assert Manifest.read(stopped / "manifest.json").sessions[-1].get("repaired")
    assert harness("resume", stopped) == 0
    assert contents(stopped) == contents(whole)


def test_scores_of_images(harness: Terminal, images: Path, tiny_suite: Path) -> None:
    """What a damaged shard held is scored again by the same command, after a repair."""
    command = ["score", images, "--model", tiny_suite, "--out", "out", "--threads", 1]
    assert harness(*command) == 0
    before = contents(Path("out"))
    (shard,) = files(Path("out"))
    flip(shard)
    for again in (["show", "out"], command):
        assert harness(*again) == 1, harness.out
        assert shard.name in harness.err and "harness repair out" in harness.err
    assert harness("repair", "out") == 0
    assert re.search(r"complete +python -m harness score", harness.out), harness.out
    assert harness(*command) == 0, harness.err
    assert contents(Path("out")) == before


@pytest.fixture
def other(harness: Terminal, suite: Path) -> Path:
    """A run that differs in its seed."""
    assert harness(*run_options(suite), "--seed", 5, "--out", "other") == 0
    return Path("other")


def relist(run: Path) -> None:
    """Let a finished manifest list the files that are there."""
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["files"] = sorted(path.name for path in (run / "log").iterdir())
    (run / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.sampled(1)
@pytest.mark.parametrize("table", ["candidates", "searches"])
def test_a_shard_of_another_run_is_not_believed(
    harness: Terminal, suite: Path, stopped: Path, whole: Path, other: Path, table: str
) -> None:
    first, (stranger,) = files(stopped, table)[0], files(other, table)
    first.unlink()
    name = stranger.name.split("-")
    name[1:3] = first.name.split("-")[1:3]
    (stopped / "log" / "-".join(name)).write_bytes(stranger.read_bytes())
    refused(harness, stopped, "a row is of run", READERS)
    assert harness("what-if", stopped, "--strategy", "best-of-n", "--plugins") == 1
    assert "a row is of run" in harness.err
    mended(harness, stopped, whole, ["-".join(name)])


@pytest.mark.parametrize("table", ["candidates", "searches"])
def test_a_shard_that_is_there_under_two_numbers(
    harness: Terminal, whole: Path, table: str
) -> None:
    before = contents(whole)
    (shard,) = files(whole, table)
    twin = shard.with_name(re.sub(r"-\d{6}-\d{6}-", "-000099-000099-", shard.name))
    first = int(shard.name.split("-")[2]) + 1
    shards.write(whole / "log", table, first, 98, TABLES[table].empty_table())
    twin.write_bytes(shard.read_bytes())
    relist(whole)
    refused(
        harness, whole, "is there twice", [c for c in READERS if c[0] not in ("resume", "compare")]
    )
    assert harness("repair", whole) == 0 and twin.name in harness.out
    assert harness("resume", whole) == 0, harness.err
    assert contents(whole) == before


@pytest.mark.parametrize("numbers", ["000000-000000", "000007-000002"])
def test_numbers_that_no_shard_has_are_refused(
    harness: Terminal, whole: Path, numbers: str
) -> None:
    (shard,) = files(whole)
    shard.rename(shard.with_name(re.sub(r"\d{6}-\d{6}", numbers, shard.name)))
    relist(whole)
    assert harness("show", whole) == 1
    assert "is no shard of this log" in harness.err and "hint: move files" in harness.err


@pytest.mark.sampled(2)
@pytest.mark.parametrize("image", ["../../victim", "", "x" * 32, "A" * 32, "/victim"])
def test_no_image_of_a_log_is_outside_of_its_folder(
    harness: Terminal, whole: Path, image: str
) -> None:
    victim = Path("victim.png")
    victim.write_bytes(b"mine")
    (shard,) = files(whole)
    rows = shards.read(shards.discover(whole / "log", "candidates")[0], "candidates")
    place = rows.column_names.index("image")
    shard.unlink()
    values = pa.array([image] * len(rows))
    shards.write(whole / "log", "candidates", 1, 9, rows.set_column(place, "image", values))
    manifest = json.loads((whole / "manifest.json").read_text())
    manifest.update(state="running", files=[], totals={})
    (whole / "manifest.json").write_text(json.dumps(manifest))
    refused(harness, whole, "no digest of an image", [["show", "{}"], ["resume", "{}"]])
    assert harness("bundle", whole, "--out", "b.zip") == 1
    assert "cannot be packed" in harness.err and not Path("b.zip").exists()
    assert harness("repair", whole) == 0
    assert victim.read_bytes() == b"mine"
