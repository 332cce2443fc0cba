"""Runs in an object store: obstore's own in memory for most tests, an S3 server (moto) for some."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from obstore.exceptions import GenericError
from obstore.store import LocalStore, MemoryStore

from harness.errors import HarnessError, UsageError
from harness.log import lease as leases
from harness.log import remote
from harness.log.files import read_file, write_atomically
from harness.log.lease import Holder
from harness.log.lock import exclusive
from harness.log.remote import RemotePath
from harness.log.run_folder import RunFolder
from harness.log.schema import content
from harness.log.store import read
from tests.runs import contents
from tests.stubs import Faults
from tests.terminal import STUB, Terminal, start, wait_until


class Store:
    """A bucket of obstore's, kept in memory or in a folder, whose connection can be lost.

    `failing` counts the calls that fail before one works; with `unheard` set they get through, and
    only their answers are lost.
    """

    def __init__(self, bucket: Any) -> None:
        self.bucket = bucket
        self.failing = 0
        self.failed = 0
        self.unheard = False
        self.message = "Error performing PUT http://x/ in 1s - HTTP error: error sending request"

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            act = getattr(self.bucket, name)
            if self.failing:
                self.failing -= 1
                self.failed += 1
                if self.unheard:
                    act(*arguments, **options)
                raise GenericError(self.message)
            return act(*arguments, **options)

        return call


@pytest.fixture(params=["memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    folder = tmp_path / "store"
    folder.mkdir()
    made = Store(MemoryStore() if request.param == "memory" else LocalStore(folder))
    monkeypatch.setattr(remote, "connect", lambda bucket, parameters: made)
    monkeypatch.setattr(remote, "PAUSES", (0.0, 0.0, 0.0))
    return made


@pytest.fixture
def place(store: Store) -> RemotePath:
    return RemotePath.of("s3://bucket/runs/r")


@pytest.mark.parametrize("store", ["memory", "folder"], indirect=True)
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
    assert (place / "damaged" / "x-1.parquet").read_bytes() == b"log/x-1.parquet"
    assert not (place / "log" / "x-1.parquet").exists()
    (place / "log" / "x-1.parquet").unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError):
        (place / "log" / "x-1.parquet").read_bytes()
    assert read_file(place / "manifest.json", 13) == b"manifest.json"
    with pytest.raises(OSError, match="at most 12 are read"):
        read_file(place / "manifest.json", 12)
    (place / "a b" / "ü.png").write_bytes(b"")
    assert [path.name for path in (place / "a b").iterdir()] == ["ü.png"]


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("s3://bucket", "no place for a run"),
        ("s3://bucket/a//b", "no place for a run"),
        ("s3://bucket/../b", "no place for a run"),
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
    with pytest.raises(HarnessError, match=r"cannot reach s3://bucket/runs/r/x: HTTP error: error"):
        write_atomically(place / "x", b"newer")
    assert (place / "x").read_bytes() == b"new"


def test_what_no_patience_helps_is_not_tried_again(store: Store, place: RemotePath) -> None:
    store.failing = 2
    store.message = (
        "Error performing PUT http://x/ in 1s - Server returned non-2xx status code: 400 Bad "
        "Request: <Error><Code>InvalidDigest</Code><Message>No such digest</Message></Error>"
    )
    with pytest.raises(HarnessError, match=r"x: InvalidDigest: No such digest$"):
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
    assert json.loads((run.path / ".lock").read_bytes())["owner"] is None
    saved = {path.name for path in run.images.glob("*/*")}
    assert saved == {path.name for path in Path("whole/images").glob("*/*")} and len(saved) == 10
    for command in (["show"], ["report", "--out", "page"], ["compare", "whole"], ["resume"]):
        assert harness(*command, "s3://bucket/r") == 0, (command, harness.err)
    assert "data:image/webp" in Path("page/index.html").read_text(encoding="utf-8")
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
    left = [25]

    def fail(key: str, *arguments: Any, **options: Any) -> Any:
        if "images" in key:
            left[0] -= 1
            if left[0] < 0:
                store.failing = 10**9
        return store.__getattr__("put")(key, *arguments, **options)

    monkeypatch.setattr(leases, "STALE_SECONDS", 0.1)  # its lock stays behind, this process lives
    with monkeypatch.context() as patch:
        patch.setattr(store, "put", fail, raising=False)
        assert harness(*options, "--out", "s3://bucket/r") == 1
    assert "error sending request" in harness.err and "resume s3://bucket/r" in harness.err
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
    (shard,) = RemotePath.of("s3://bucket/r/log").glob("candidates-*")
    shard.write_bytes(shard.read_bytes()[:-1])
    assert harness("show", "s3://bucket/r") == 1
    assert "harness repair s3://bucket/r" in harness.err
    assert harness("repair", "s3://bucket/r") == 0 and shard.name in harness.out
    assert (RemotePath.of("s3://bucket/r/damaged") / shard.name).exists()
    assert harness("resume", "s3://bucket/r") == 0, harness.err
    log = RunFolder(RemotePath.of("s3://bucket/r")).log
    assert content(read(log, "candidates")) == contents(Path("whole"))[0]


def holder_of(place: RemotePath) -> dict[str, Any]:
    holder: dict[str, Any] = json.loads((place / ".lock").read_bytes())
    return holder


def hold(place: RemotePath, **holder: Any) -> None:
    """Leave what a driver leaves that was killed."""
    fields = {"owner": "x", "pid": 1, "host": "h", "system": None, "beat": 3, **holder}
    (place / ".lock").write_bytes(json.dumps(fields).encode())


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "BEAT_SECONDS", 0.02)
    monkeypatch.setattr(leases, "STALE_SECONDS", 0.1)


def test_the_second_driver_is_refused(place: RemotePath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "BEAT_SECONDS", 0.02)
    monkeypatch.setattr(leases, "STALE_SECONDS", 30.0)
    with exclusive(place):
        with pytest.raises(HarnessError, match=f"another process .pid {os.getpid()} on"):
            exclusive(place).__enter__()
        assert holder_of(place)["pid"] == os.getpid()
    assert holder_of(place)["owner"] is None
    with exclusive(place):  # let go, it is there for the next at once
        pass


def test_a_dead_driver_blocks_nobody(place: RemotePath, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    monkeypatch.setattr(leases, "STALE_SECONDS", 10**6)
    hold(place, pid=dead.pid, system=leases._system())
    with exclusive(place):  # of this system: gone at a glance
        pass
    monkeypatch.setattr(leases, "STALE_SECONDS", 0.05)
    hold(place, pid=dead.pid, system="another")
    with exclusive(place):  # of another: silent for long enough
        pass


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"owner": 5, "pid": "x"}', b"\xff" * 9])
def test_a_lock_object_may_hold_anything(place: RemotePath, content: bytes) -> None:
    (place / ".lock").write_bytes(content)
    with exclusive(place):
        pass


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Heed SIGINT, as the command line does: what is started in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("quick", "interruptible")
def test_whoever_is_taken_over_stops(place: RemotePath) -> None:
    with pytest.raises(HarnessError, match="pid 1 on elsewhere"), exclusive(place):
        hold(place, owner="other", host="elsewhere")
        wait_until(lambda: False)
    assert holder_of(place)["owner"] == "other"


@pytest.mark.parametrize("left", ["nothing", "a dead driver's", "a driver's that let go"])
def test_of_many_who_try_at_once_one_holds_it(place: RemotePath, quick: None, left: str) -> None:
    if left != "nothing":
        hold(place, owner=None if "let go" in left else "dead")
    everybody_has_looked = threading.Barrier(8)
    looked: set[int] = set()
    tags: list[str | None] = []

    def look(path: RemotePath) -> Any:
        seen = _read(path)
        if threading.get_ident() not in looked:  # so that nobody sees what another writes
            looked.add(threading.get_ident())
            everybody_has_looked.wait(30)
        return seen

    def acquire() -> None:
        try:
            tags.append(leases._acquire(place / ".lock", Holder.here()))
        except HarnessError:
            tags.append(None)

    _read = leases._read
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leases, "_read", look)
        threads = [threading.Thread(target=acquire) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    (tag,) = (tag for tag in tags if tag is not None)
    assert (place / ".lock").read_tagged()[1] == tag


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("left", ["nothing", "a dead driver's"])
def test_an_answer_that_is_lost_does_not_shut_its_own_driver_out(
    store: Store, place: RemotePath, left: str
) -> None:
    if left != "nothing":
        hold(place)
    put, unheard = store.__getattr__("put"), [0]

    def lose(*arguments: Any, **options: Any) -> Any:
        """Every other write gets through unheard."""
        result, unheard[0] = put(*arguments, **options), unheard[0] + 1
        if unheard[0] % 2:
            raise GenericError(store.message)
        return result

    store.put = lose  # type: ignore[attr-defined]
    with exclusive(place):
        wait_until(lambda: holder_of(place)["beat"] > 3)
        assert holder_of(place)["pid"] == os.getpid()
    assert holder_of(place)["owner"] is None


def test_a_store_that_ignores_conditions_is_refused(store: Store, place: RemotePath) -> None:
    put = store.__getattr__("put")
    store.put = lambda name, data, mode: put(name, data, mode="overwrite")  # type: ignore[attr-defined]
    with pytest.raises(HarnessError, match="ignores conditions on writes"):
        exclusive(place).__enter__()


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


def make_bucket(endpoint: str) -> None:
    """Ask for the bucket `runs`, which obstore does not make."""
    with urllib.request.urlopen(urllib.request.Request(f"{endpoint}/runs", method="PUT")):
        pass


@pytest.mark.slow
def test_a_server_refuses_a_second_making_and_a_stale_tag(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_bucket(endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    address = endpoint.partition("://")[2]
    place = RemotePath.of(f"s3://runs/c{os.getpid()}?endpoint_override={address}&scheme=http")
    tag = (place / "x").create(b"1")
    assert tag is not None and (place / "x").create(b"2") is None
    assert (place / "x").read_tagged() == (b"1", tag)
    newer = (place / "x").replace(b"3", tag)
    assert newer not in (None, tag) and (place / "x").replace(b"4", tag) is None
    assert (place / "gone").replace(b"5", tag) is None and not (place / "gone").exists()
    assert (place / "x").read_bytes() == b"3"
    monkeypatch.setattr(leases, "BEAT_SECONDS", 0.05)
    with exclusive(place):
        wait_until(lambda: holder_of(place)["beat"] > 1)
        with pytest.raises(HarnessError, match="another process"):
            exclusive(place).__enter__()
    assert holder_of(place)["owner"] is None
    nowhere = RemotePath.of(f"s3://nowhere/r?endpoint_override={address}&scheme=http")
    assert not nowhere.is_file()
    with pytest.raises(HarnessError, match="there is no bucket 'nowhere'"):
        nowhere.write_bytes(b"")
    assert list(nowhere.iterdir()) == [] and not nowhere.exists()


@pytest.mark.slow
def test_credentials_may_be_a_profile_s(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_bucket(endpoint)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    (tmp_path / "credentials").write_text(
        "[mine]\naws_access_key_id = a\naws_secret_access_key = b\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "mine")
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    path = RemotePath.of(f"s3://runs/p{os.getpid()}")
    path.write_bytes(b"x")
    assert path.read_bytes() == b"x"
    monkeypatch.setitem(sys.modules, "boto3", None)
    monkeypatch.delitem(sys.modules, "obstore.auth.boto3", raising=False)
    with pytest.raises(UsageError, match="boto3, which is not installed"):
        RemotePath.of(f"s3://runs/p{os.getpid()}")


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
    make_bucket(endpoint)
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
