"""Runs in an object store: a stand-in for most tests, a local S3 server (moto) for one."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow.fs
import pytest

from harness.errors import HarnessError, UsageError
from harness.log import lease as leases
from harness.log import remote
from harness.log.files import write_atomically
from harness.log.lock import exclusive
from harness.log.remote import RemotePath
from harness.log.run_folder import RunFolder
from harness.log.schema import content
from harness.log.store import read
from tests.runs import contents
from tests.stubs import Faults
from tests.terminal import STUB, Terminal, start, wait_until


class Store:
    """A file system that behaves like a store: no folders, whole objects, lost connections.

    Objects are files below a folder. `failing` counts the calls that fail before one works.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.failing = 0
        self.failed = 0
        self.message = "AWS Error NETWORK_CONNECTION during PutObject operation"

    def _call(self) -> None:
        if self.failing:
            self.failing -= 1
            self.failed += 1
            raise OSError(self.message)

    def get_file_info(self, what: Any) -> Any:
        self._call()
        local = pyarrow.fs.SubTreeFileSystem(str(self.root), pyarrow.fs.LocalFileSystem())
        return local.get_file_info(what)

    def open_input_file(self, key: str) -> Any:
        self._call()
        return (self.root / key).open("rb")

    def open_output_stream(self, key: str) -> _Upload:
        self._call()
        return _Upload(self, key)

    def delete_file(self, key: str) -> None:
        self._call()
        (self.root / key).unlink()


class _Upload:
    def __init__(self, store: Store, key: str) -> None:
        self._store, self._path = store, store.root / key

    def __enter__(self) -> _Upload:
        return self

    def write(self, data: bytes) -> None:
        self._data = data

    def __exit__(self, *error: object) -> None:
        self._store._call()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_bytes(self._data)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    made = Store(tmp_path / "store")
    made.root.mkdir()
    monkeypatch.setattr(remote, "connect", lambda bucket, parameters: made)
    monkeypatch.setattr(remote, "PAUSES", (0.0, 0.0, 0.0))
    monkeypatch.setattr(leases, "SETTLE_SECONDS", 0.0)
    return made


@pytest.fixture
def place(store: Store) -> RemotePath:
    return RemotePath.of("s3://bucket/runs/r")


def test_a_place_is_spelled_like_a_path(place: RemotePath) -> None:
    assert str(place) == "s3://bucket/runs/r" and place.name == "r"
    assert place.parent == RemotePath.of("s3://bucket/runs/")
    assert (place / "log" / "a.b.parquet").stem == "a.b"
    assert str(RemotePath.of("s3://b/r?region=eu-west-1") / "x") == "s3://b/r/x?region=eu-west-1"
    assert not place.exists() and list(place.iterdir()) == []
    for name in ("log/x-1.parquet", "log/y-1.parquet", "images/ab/abc.png", "manifest.json"):
        (place / name).write_bytes(name.encode())
    assert place.is_dir() and not place.is_file() and (place / "manifest.json").is_file()
    assert [path.name for path in (place / "log").glob("x-*.parquet")] == ["x-1.parquet"]
    assert [path.stem for path in (place / "images").glob("*/*")] == ["abc"]
    assert sorted(path.name for path in place.iterdir()) == ["images", "log", "manifest.json"]
    (place / "log" / "x-1.parquet").rename(place / "damaged" / "x-1.parquet")
    assert (place / "damaged" / "x-1.parquet").read_text() == "log/x-1.parquet"
    assert not (place / "log" / "x-1.parquet").exists()
    (place / "log" / "x-1.parquet").unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError):
        (place / "log" / "x-1.parquet").read_bytes()


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("s3://bucket", "no place for a run"),
        ("s3://key:secret@bucket/r", "credentials"),
        ("s3://bucket/r?endpoint=x", "unknown parameter 'endpoint'"),
    ],
)
def test_a_bad_uri_is_a_sentence(store: Store, uri: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        RemotePath.of(uri)
    assert "secret" not in caught.value.message


def test_a_lost_connection_is_tried_again_and_then_named(store: Store, place: RemotePath) -> None:
    write_atomically(place / "x", b"old")
    store.failing = 3
    write_atomically(place / "x", b"new")
    assert store.failed == 3 and (place / "x").read_bytes() == b"new"
    store.failing = 4
    with pytest.raises(HarnessError, match=r"cannot reach s3://bucket/runs/r/x: AWS Error NETW"):
        write_atomically(place / "x", b"newer")
    assert (place / "x").read_bytes() == b"new"


def test_what_no_patience_helps_is_not_tried_again(store: Store, place: RemotePath) -> None:
    store.failing, store.message = 2, "AWS Error ACCESS_DENIED during PutObject operation"
    with pytest.raises(HarnessError, match="ACCESS_DENIED"):
        write_atomically(place / "x", b"new")
    assert store.failed == 1


@pytest.mark.slow
def test_a_run_in_a_store_is_the_run_of_a_folder(
    harness: Terminal, suite: Path, store: Store
) -> None:
    options = ["run", "--model", suite, *STUB, "--strategy", "reflect", "--budget", 3,
               "--keep-images", "selected"]  # fmt: skip
    assert harness(*options, "--out", "whole") == 0
    store.failing = 2
    assert harness(*options, "--out", "s3://bucket/r") == 0, harness.err
    assert store.failed == 2 and "results   s3://bucket/r" in harness.out
    run = RunFolder(RemotePath.of("s3://bucket/r"))
    tables = tuple(content(read(run.log, table)) for table in ("candidates", "searches"))
    assert tables == contents(Path("whole"))
    assert not run.path.__truediv__(".lock").exists()
    kept = {path.name for path in run.images.glob("*/*")}
    assert kept == {path.name for path in Path("whole/images").glob("*/*")} and len(kept) == 10
    for command in (["show"], ["report", "--out", "page"], ["compare", "whole"], ["resume"]):
        assert harness(*command, "s3://bucket/r") == 0, (command, harness.err)
    assert "data:image/jpeg" in Path("page/index.html").read_text(encoding="utf-8")
    assert harness(*options, "--out", "s3://bucket/r") == 0 and "already finished" in harness.err
    assert harness(*options, "--budget", 2, "--out", "s3://bucket/r") == 2
    assert "belongs to another config" in harness.err
    assert harness("show", "s3://bucket/none") == 2 and "not a run" in harness.err
    for command in (
        ["audit"],
        ["export", "--format", "geneval", "--out", "o"],
        ["bundle", "--out", "z"],
    ):
        assert harness(command[0], "s3://bucket/r", *command[1:]) == 2, command
        assert "local folders only" in harness.err or "not a run" in harness.err, harness.err
    assert not Path("s3:").exists()


def test_a_connection_that_stays_away_ends_the_run_and_loses_nothing(
    harness: Terminal, suite: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["run", "--model", suite, *STUB, "--budget", 3]
    assert harness(*options, "--out", "whole") == 0
    upload, left = Store.open_output_stream, [25]

    def fail(self: Store, key: str) -> _Upload:
        if "images" in key:
            left[0] -= 1
            if left[0] < 0:
                self.failing = 10**9
        return upload(self, key)

    monkeypatch.setattr(leases, "STALE_SECONDS", 0.1)  # its lock stays behind, this process lives
    with monkeypatch.context() as patch:
        patch.setattr(Store, "open_output_stream", fail)
        assert harness(*options, "--out", "s3://bucket/r") == 1
    assert "NETWORK_CONNECTION" in harness.err and "resume s3://bucket/r" in harness.err
    store.failing = 0
    assert harness("resume", "s3://bucket/r") == 0, harness.err
    log = RunFolder(RemotePath.of("s3://bucket/r")).log
    assert content(read(log, "candidates")) == contents(Path("whole"))[0]


def test_a_damaged_shard_in_a_store_is_repaired(
    harness: Terminal, suite: Path, store: Store
) -> None:
    options = ["run", "--model", suite, *STUB, "--budget", 2]
    assert harness(*options, "--out", "whole") == 0
    assert harness(*options, "--out", "s3://bucket/r") == 0
    (shard,) = (store.root / "bucket/r/log").glob("candidates-*")
    shard.write_bytes(shard.read_bytes()[:-1])
    assert harness("show", "s3://bucket/r") == 1
    assert "harness repair s3://bucket/r" in harness.err
    assert harness("repair", "s3://bucket/r") == 0 and shard.name in harness.out
    assert (store.root / "bucket/r/damaged" / shard.name).exists()
    assert harness("resume", "s3://bucket/r") == 0, harness.err
    log = RunFolder(RemotePath.of("s3://bucket/r")).log
    assert content(read(log, "candidates")) == contents(Path("whole"))[0]


def test_the_second_driver_is_refused(place: RemotePath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "BEAT_SECONDS", 0.02)
    monkeypatch.setattr(leases, "STALE_SECONDS", 30.0)
    with exclusive(place):
        with pytest.raises(HarnessError, match=f"another process .pid {os.getpid()} on"):
            exclusive(place).__enter__()
        assert (place / ".lock").exists()
    assert not (place / ".lock").exists()


def test_a_dead_driver_blocks_nobody(place: RemotePath, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    holder = {"owner": "x", "pid": dead.pid, "host": "h", "system": leases._system(), "beat": 3}
    monkeypatch.setattr(leases, "STALE_SECONDS", 10**6)
    (place / ".lock").write_bytes(json.dumps(holder).encode())
    with exclusive(place):  # of this system: gone at a glance
        pass
    monkeypatch.setattr(leases, "STALE_SECONDS", 0.05)
    (place / ".lock").write_bytes(json.dumps({**holder, "system": "another"}).encode())
    with exclusive(place):  # of another: silent for long enough
        pass


def test_whoever_is_taken_over_stops(place: RemotePath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "BEAT_SECONDS", 0.02)
    other = {"owner": "other", "pid": 1, "host": "elsewhere", "system": None, "beat": 0}
    with pytest.raises(HarnessError, match="pid 1 on elsewhere"), exclusive(place):
        (place / ".lock").write_bytes(json.dumps(other).encode())
        wait_until(lambda: False)
    assert json.loads((place / ".lock").read_bytes())["owner"] == "other"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """A local S3 server; HARNESS_TEST_S3 names one that is there already."""
    if named := os.environ.get("HARNESS_TEST_S3"):
        yield named
        return
    if find_spec("moto") is None:
        pytest.skip("moto is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True
    )
    try:
        wait_until(lambda: answers(port), server)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def answers(port: int) -> bool:
    """Whether something of this machine listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.slow
def test_an_s3_server(
    harness: Terminal,
    suite: Path,
    faults: Faults,
    endpoint: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Run, be killed, resume and be read, by the command line in processes of their own."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    scheme, _, address = endpoint.partition("://")
    made = pyarrow.fs.S3FileSystem(
        endpoint_override=address, scheme=scheme, region="us-east-1", allow_bucket_creation=True
    )
    made.create_dir("runs")
    options = ["run", "--model", str(suite), *STUB, "-B", "size=60", "--budget", "4"]
    assert harness(*options, "--out", "whole") == 0
    uri = f"s3://runs/r{os.getpid()}"
    place = RemotePath.of(uri)
    faults.add("generator", "hold", "on-thing 30")  # so that it cannot come to its end before
    process = start([*options, "--out", uri], Path.cwd())
    try:
        wait_until(lambda: len(list((place / "images").glob("*/*"))) >= 40, process)
    finally:
        process.kill()
        process.communicate()
    faults.release()
    assert harness("show", uri) == 0 and "resume" in harness.out
    assert harness("resume", uri) == 0, harness.err
    log = RunFolder(place).log
    tables = tuple(content(read(log, table)) for table in ("candidates", "searches"))
    assert tables == contents(Path("whole"))
    assert re.search(r"60 of 60", harness.out)
    assert harness("report", uri, "--out", "page") == 0, harness.err
    assert harness("show", "s3://nowhere/r") == 2 and "not a run" in harness.err
    (shard,) = log.glob("candidates-*")
    assert shard.read_bytes()[:4] == b"PAR1"
