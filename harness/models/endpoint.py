"""Calls to an OpenAI-compatible server: bounded, patient, and close with the key.

The standard library's client, since it follows no redirect: a key goes to the place that the user
named and to no other. A try has a limit in seconds for all of it, an answer one in bytes. Whatever
the server says is data, and the key is taken out of all that is repeated of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import threading
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import SplitResult, urlsplit

from harness.errors import BadAnswer, Failure, HarnessError, UsageError
from harness.text import parse_json

MAX_BYTES = 2**22
"""The longest answer that is read: thousands of times what a verdict takes."""

LONGEST_WAIT = 60.0
"""Seconds that are waited before another try, whoever asks for more."""

OPENAI_HOST, OPENAI_KEY = "api.openai.com", "OPENAI_API_KEY"

_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]{0,99}")

_RETRIED = frozenset({408, 409, 425, 429})


class Unanswered(BadAnswer):
    """A call got no answer that can be used.

    Attributes:
        status: The last HTTP status; 0 without any.
    """

    def __init__(self, message: str, hint: str = "", status: int = 0) -> None:
        super().__init__(Failure.EXCEPTION, message, hint)
        self.status = status

    def __reduce__(self) -> Any:
        return type(self), (self.message, self.hint, self.status)


class _Passing(Exception):
    """A failure that another try may mend.

    Attributes:
        wait: Seconds that the server asks to wait, if it does.
    """

    def __init__(self, message: str, status: int = 0, wait: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.wait = wait


def parse_url(url: str) -> SplitResult:
    """Return the parts of a server's base URL.

    Raises:
        UsageError: It is no plain http or https URL; one with a password or a query has no place
            in a manifest.
    """
    hint = "such as base_url=http://localhost:8000/v1; the key comes from the environment"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = SplitResult("", "", "", "", ""), None
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise UsageError("base_url holds a password, a query or a fragment", hint)
    plain = url.isascii() and url.isprintable() and " " not in url and port != 0
    if parts.scheme not in ("http", "https") or not parts.hostname or not plain:
        raise UsageError(f"base_url is no http or https URL: '{url[:100]}'", hint)
    return parts


def read_key(variable: str, host: str) -> str:
    """Return the key for a server from the environment; "" for none.

    Args:
        variable: Name of the variable; "" for OpenAI's own at OpenAI's host, and none elsewhere:
            no key is sent to where the user did not say it belongs.
        host: The server's.

    Raises:
        UsageError: The name is none, the variable is not set, or it holds what is no key. The
            message has no part of it.
    """
    if variable and not _VARIABLE.fullmatch(variable):
        raise UsageError(
            "-J key=… names the environment variable with the key, and this is no such name",
            "export JUDGE_KEY=… and say -J key=JUDGE_KEY; a key itself is given nowhere else",
        )
    name = variable or (OPENAI_KEY if host == OPENAI_HOST else "")
    if not name:
        return ""
    key = os.environ.get(name, "").strip()
    if not key:
        raise UsageError(
            f"the environment variable {name} with the judge's key is not set",
            f"export {name}=… where workers run, or name another with -J key=NAME",
        )
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise UsageError(f"the environment variable {name} holds what is no key")
    return key


def pause(seconds: float) -> None:
    """Wait before another try."""
    time.sleep(seconds)


@dataclass(frozen=True)
class Endpoint:
    """One server.

    Attributes:
        url: Its base URL, as `parse_url` takes it.
        key: Sent as a bearer token; "" for none.
        timeout: Seconds that one try may take, from the connection to the answer's last byte.
        retries: Further tries after one that failed in passing.
    """

    url: SplitResult
    key: str
    timeout: float
    retries: int

    def __repr__(self) -> str:
        return f"Endpoint({self.url.geturl()!r})"

    def call(self, method: str, path: str, body: Any = None) -> tuple[Any, int]:
        """Return the JSON object that a server answers, and how many tries it took.

        Tried again, after the wait that the server asks for or else 1, 2, 4, … seconds: no
        connection, a try that takes too long, an answer that is cut off or no JSON, HTTP 408, 409,
        425, 429 and 5xx.

        Raises:
            Unanswered: None of the tries was answered, or another status came.
        """
        sent = json.dumps(body).encode() if body is not None else None
        for tries in range(1, self.retries + 2):
            try:
                return self._try(method, path, sent), tries
            except _Passing as error:
                wait = min(2.0 ** (tries - 1), LONGEST_WAIT) if error.wait is None else error.wait
                what, status = str(error), error.status
            if wait > LONGEST_WAIT:
                raise Unanswered(f"{what}, and asks to wait {wait:.0f} s", status=status)
            if tries <= self.retries:
                pause(wait)
        raise Unanswered(f"{what}, {tries} times", status=status)

    def _try(self, method: str, path: str, body: bytes | None) -> Any:
        assert self.url.hostname is not None
        kind = HTTPSConnection if self.url.scheme == "https" else HTTPConnection
        connection = kind(self.url.hostname, self.url.port, timeout=self.timeout)
        late = threading.Event()

        def abort() -> None:
            late.set()
            with contextlib.suppress(OSError, AttributeError):
                connection.sock.shutdown(socket.SHUT_RDWR)

        # The connection's own limit is one on each step: a server may send a byte a second.
        timer = threading.Timer(self.timeout, abort)
        timer.daemon = True
        timer.start()
        try:
            connection.connect()
            if late.is_set():
                raise TimeoutError
            headers = {"Content-Type": "application/json", "Connection": "close"}
            if self.key:
                headers["Authorization"] = f"Bearer {self.key}"
            connection.request(method, f"{self.url.path.rstrip('/')}{path}", body, headers)
            response = connection.getresponse()
            read = response.read(MAX_BYTES + 1)
            cut = bool(response.length) and len(read) <= MAX_BYTES
        except (OSError, HTTPException) as error:
            slow = late.is_set() or isinstance(error, TimeoutError)
            what = f"took more than {self.timeout:g} s" if slow else _broken(error)
            raise _Passing(f"{self._named} {what}") from None
        finally:
            timer.cancel()
            connection.close()
        if late.is_set():
            raise _Passing(f"{self._named} took more than {self.timeout:g} s")
        return self._answer(response, read, cut)

    def _answer(self, response: HTTPResponse, read: bytes, cut: bool) -> Any:
        status = response.status
        if len(read) > MAX_BYTES:
            raise Unanswered(f"{self._named} answered more than {MAX_BYTES} bytes", status=status)
        if 300 <= status < 400:
            raise Unanswered(
                f"{self._named} redirects (HTTP {status}), which is not followed",
                "name the place itself with -J base_url=URL",
                status,
            )
        if status != 200:
            message = f"{self._named} answered HTTP {status}{self._reason(read)}"
            if status in _RETRIED or status >= 500:
                raise _Passing(message, status, _wait(response.headers.get("Retry-After")))
            raise Unanswered(message, status=status)
        if cut:
            raise _Passing(f"{self._named} cut its answer off", status)
        try:
            answer = parse_json(read.decode())
        except ValueError:
            raise _Passing(f"{self._named} answered what is no JSON", status) from None
        if not isinstance(answer, dict):
            raise _Passing(f"{self._named} answered what is no JSON object", status)
        return answer

    def _reason(self, body: bytes) -> str:
        """Return what the server says is wrong, shortened and without the key."""
        try:
            error = parse_json(body.decode())["error"]
            text = str(error["message"] if isinstance(error, dict) else error)
        except (ValueError, KeyError, TypeError):
            return ""
        text = " ".join(text.replace(self.key, "***").split() if self.key else text.split())
        return f": {''.join(c for c in text[:200] if c.isprintable())}"

    @property
    def _named(self) -> str:
        return f"the endpoint {self.url.netloc}"

    def check(self, model: str) -> None:
        """Refuse at once what would fail for every image.

        Raises:
            HarnessError: The server cannot be reached, does not take the key, or lists its models
                and this is none of them.
        """
        try:
            answer, _ = self.call("GET", "/models")
        except Unanswered as error:
            if error.status in (0, 401, 403) or 300 <= error.status < 400:
                hint = error.hint or "check -J base_url=URL, -J key=NAME and whether it is up"
                raise HarnessError(error.message, hint) from None
            return  # not every server has a list
        listed = answer.get("data")
        names = [each.get("id") for each in listed if isinstance(each, dict)] if listed else []
        if names and model not in names:
            known = ", ".join(str(name)[:80] for name in names[:5])
            raise HarnessError(
                f"{self._named} has no model '{model}'", f"name one with -J model=…, of {known}"
            )


def _broken(error: Exception) -> str:
    if isinstance(error, HTTPException):
        return "cut its answer off"
    reason = getattr(error, "strerror", None) or type(error).__name__
    return f"cannot be reached ({reason})"


def _wait(asked: str | None) -> float | None:
    """Return the seconds of a Retry-After header, a number or a date; None without any."""
    if asked is None:
        return None
    if asked.strip().isdecimal():
        return float(asked)
    with contextlib.suppress(ValueError, OverflowError):
        return max(0.0, parsedate_to_datetime(asked).timestamp() - time.time())
    return None
