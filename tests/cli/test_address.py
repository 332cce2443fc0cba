"""`--address` of a cluster that is not there: a sentence within seconds, from every command."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest
import ray

from harness.engine.executors import address as addresses
from harness.engine.executors.address import LOCAL, reachable
from harness.errors import HarnessError, UsageError
from tests.terminal import STUB, Terminal

LIMIT = 15.0


@pytest.fixture(autouse=True)
def nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """No cluster of other tests, and Ray itself is never asked."""

    def asked(**_: object) -> None:
        raise AssertionError("Ray was asked")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", asked)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(addresses, "PATIENCE", 1.0)


@pytest.fixture
def silent() -> Iterator[str]:
    """A port that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def closed(silent: str) -> str:
    """A port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def web() -> Iterator[str]:
    """A web server's port."""
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.sampled(6)
@pytest.mark.parametrize("device", ["auto", "cpu"])
@pytest.mark.parametrize("scheme", ["", "ray://"])
@pytest.mark.parametrize("kind", ["closed", "silent", "web"])
def test_a_run_says_so_at_once(
    harness: Terminal, suite: Path, request: pytest.FixtureRequest, kind: str, scheme: str,
    device: str,
) -> None:  # fmt: skip
    place = scheme + request.getfixturevalue(kind)
    started = time.monotonic()
    command = ["run", "--model", suite, *STUB, "--device", device, "--address", place]
    assert harness(*command, "--out", "r") == 1
    assert time.monotonic() - started < LIMIT
    assert place in harness.err and "Ray cluster" in harness.err
    assert harness.err.count("error: ") == 1 and "hint: `ray start --head` prints" in harness.err
    assert not Path("r").exists()


@pytest.mark.parametrize(
    "junk",
    ["", "nonsense", "host:", ":6379", "host:port", "host:0", "host:65536", "http://host:1",
     "ray://", "ray://host", "a:1:2", "host:6379/x", "user@host:1", "local://", "[::1]"],
)  # fmt: skip
def test_what_is_no_address_is_wrong_usage(harness: Terminal, suite: Path, junk: str) -> None:
    command = ["run", "--model", suite, *STUB, "--address", junk, "--out", "r"]
    assert harness(*command) == 2
    assert f"'{junk}' is no address of a Ray cluster" in harness.err and "HOST:PORT" in harness.err


def test_a_name_that_takes_for_ever_to_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    over = Event()

    def lookup(*_: object, **__: object) -> None:
        over.wait(60)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    started = time.monotonic()
    with pytest.raises(HarnessError, match="no answer within 1 s"):
        reachable("somewhere:6379")
    assert time.monotonic() - started < LIMIT
    over.set()


@pytest.mark.parametrize("name", ["nosuchhost.invalid", "." * 70, "x" * 300])
def test_a_name_that_is_nobody_s(name: str) -> None:
    with pytest.raises(HarnessError, match="cannot reach a Ray cluster at"):
        reachable(f"{name}:6379")


def test_auto_without_a_cluster(monkeypatch: pytest.MonkeyPatch, closed: str) -> None:
    def none(address: str | None) -> None:
        if address == "auto":
            raise ConnectionError("Could not find any running Ray instance.")

    monkeypatch.setattr(addresses, "canonicalize_bootstrap_address", none)
    with pytest.raises(HarnessError, match="no Ray cluster runs on this machine"):
        reachable("auto")
    assert reachable(None) == LOCAL == reachable("local")
    # What a cluster that has ended left behind is no reason to wait for it.
    monkeypatch.setattr(addresses, "canonicalize_bootstrap_address", lambda _: closed)
    with pytest.raises(HarnessError, match="cannot reach a Ray cluster"):
        reachable("auto")
    assert reachable(None) == LOCAL


@pytest.mark.parametrize("given", [None, "auto"])
def test_the_variable_is_an_address_like_any_other(
    monkeypatch: pytest.MonkeyPatch, closed: str, given: str | None
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", closed)
    with pytest.raises(HarnessError, match=r"RAY_ADDRESS"):
        reachable(given)
    monkeypatch.setenv("RAY_ADDRESS", "nonsense")
    with pytest.raises(UsageError, match="is no address"):
        reachable(given)


def test_doctor_goes_on_with_its_other_checks(
    harness: Terminal, closed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.doctor.check_suites", lambda devices: [])
    started = time.monotonic()
    assert harness("doctor", "--device", "cpu", "--address", closed) == 1
    assert time.monotonic() - started < LIMIT
    assert f"FAILED  ray: cannot reach a Ray cluster at {closed}: Connection refused" in harness.out
    assert "hint: `ray start --head` prints" in harness.out and "mmdet" in harness.out
