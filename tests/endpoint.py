"""An OpenAI-compatible server that misbehaves on command."""

from __future__ import annotations

import hashlib
import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "judge-1"

Fault = Callable[["Handler"], None]


class Server(ThreadingHTTPServer):
    """Has state: faults to come, what was asked, how many calls are under way."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults: list[Fault] = []
        self.always: Fault | None = None
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.busy = self.most = 0
        self.delay = 0.0
        self.change: Callable[[dict[str, Any]], None] = lambda answer: None
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server
    body: dict[str, Any]

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.server.keys.append(self.headers.get("Authorization"))
        self.send({"data": [{"id": MODEL}]})

    def do_POST(self) -> None:
        server = self.server
        self.body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.asked.append(self.body)
            server.keys.append(self.headers.get("Authorization"))
            fault = server.faults.pop(0) if server.faults else server.always
            server.busy += 1
            server.most = max(server.most, server.busy)
        try:
            time.sleep(server.delay)
            if fault is not None:
                fault(self)
            else:
                self.answer()
        finally:
            with server.lock:
                server.busy -= 1

    def answer(self) -> None:
        answer = reply(self.body)
        self.server.change(answer)
        self.send(answer)

    def send(self, answer: Any, status: int = 200, **headers: str) -> None:
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)


def reply(body: dict[str, Any]) -> dict[str, Any]:
    """What a well-behaved model says: a verdict from a hash of the question, or words."""
    state = hashlib.sha256(json.dumps(body["messages"]).encode()).digest()
    accepted, chance = state[0] % 2 == 0, (1 + state[1]) / 258
    content = json.dumps({"accepted": accepted, "sentence": f"wrong by {state[2]}"})
    if body["messages"][0]["role"] != "system":
        content = f"say it in {state[0]} words"
    choice: dict[str, Any] = {"finish_reason": "stop", "message": {"content": content}}
    if body.get("logprobs"):
        options = [("true", chance), ("false", 1 - chance)]
        likely = [{"token": word, "logprob": math.log(p)} for word, p in options]
        pieces = ['{"', "accepted", '":', " ", str(accepted).lower()]
        pieces.append(content.removeprefix("".join(pieces)))
        choice["logprobs"] = {
            "content": [{"token": piece, "top_logprobs": likely} for piece in pieces]
        }
    usage = {"prompt_tokens": 90 + state[3], "completion_tokens": 10}
    return {"choices": [choice], "usage": usage}


@contextmanager
def serving() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
