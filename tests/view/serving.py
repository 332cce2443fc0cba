"""The explorer on a real socket, for tests."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import uvicorn

from harness.log.run_folder import RunFolder
from harness.view.app import make_app
from harness.view.runs import Library

TOKEN = "a-token-of-these-tests"


@contextlib.contextmanager
def served(folders: Sequence[Path]) -> Iterator[int]:
    """Serve the explorer of some runs; yields its port."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    port: int = listener.getsockname()[1]
    app = make_app(Library([RunFolder(path) for path in folders]), TOKEN, port)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield port
    server.should_exit = True
    thread.join(timeout=30)
