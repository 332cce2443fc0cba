"""The Ray cluster that an address means, and whether one answers there.

Asked before Ray is: of an address where nobody answers Ray itself tries for more than a minute,
and cannot be interrupted meanwhile.
"""

from __future__ import annotations

import os
import queue
import re
import socket
import threading

from ray._private.services import canonicalize_bootstrap_address

from harness.errors import HarnessError, UsageError, first_line

PATIENCE = 10.0
"""Seconds for a name to be looked up, a connection to be made and an answer to come."""

LOCAL = "local"
"""Ray's word for a cluster of one's own."""

_VARIABLE = "RAY_ADDRESS"
_CLIENT = "ray://"
_FORM = re.compile(r"(?:\[([0-9a-fA-F:.%\w]+)\]|([^\s:/\[\]@]+)):(\d{1,5})")
_HINT = (
    "`ray start --head` prints the address of the cluster that it starts; without --address one "
    "is started on this machine"
)

# HTTP/2, RFC 9113 section 3.4: each side begins with a SETTINGS frame (type 4), the client with
# these words before it. Ray's servers speak gRPC, and so this.
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_FRAME_HEADER, _FRAME_TYPE, _SETTINGS = 9, 3, 4


def reachable(address: str | None) -> str:
    """Return the address for Ray to connect to, at which somebody answers, or `LOCAL`.

    Args:
        address: As given: HOST:PORT, ray://HOST:PORT, "auto" or "local"; None for the one that
            $RAY_ADDRESS names, else a cluster that was started on this machine and answers, else
            one of our own.

    Raises:
        UsageError: It is no address.
        HarnessError: Nobody answers there, or not as Ray does.
    """
    named = address if address not in (None, "auto") else os.environ.get(_VARIABLE) or address
    source = "" if named == address else f" (${_VARIABLE})"
    if named == LOCAL:
        return LOCAL
    if named not in (None, "auto"):
        _greet(named, f"{named}{source}")
        return named
    try:
        # Where a cluster of this machine is to be found, Ray alone knows.
        known = canonicalize_bootstrap_address(named)
    except ConnectionError as error:
        raise HarnessError("no Ray cluster runs on this machine", _HINT) from error
    if known is None:
        return LOCAL
    try:
        _greet(known, known)
    except HarnessError:
        if named is not None:
            raise
        return LOCAL  # nobody asked for it: what a cluster left that has ended
    return str(known)


def _greet(address: str, title: str) -> None:
    match = _FORM.fullmatch(address.removeprefix(_CLIENT))
    if match is None or not 0 < int(match[3]) < 65536:
        raise UsageError(
            f"'{title}' is no address of a Ray cluster",
            f"give HOST:PORT, {_CLIENT}HOST:PORT or auto; {_HINT}",
        )
    # In a thread, since the lookup of a name heeds no timeout.
    answers: queue.SimpleQueue[OSError | bytes] = queue.SimpleQueue()
    place = (match[1] or match[2], int(match[3]))
    threading.Thread(target=lambda: answers.put(_answer(*place)), daemon=True).start()
    try:
        answer = answers.get(timeout=PATIENCE)
    except queue.Empty:
        answer = TimeoutError("timed out")
    if isinstance(answer, OSError):
        why = (
            f"no answer within {PATIENCE:g} s"
            if isinstance(answer, TimeoutError)
            else answer.strerror or first_line(answer)
        )
        raise HarnessError(f"cannot reach a Ray cluster at {title}: {why}", _HINT) from answer
    if answer and not _encrypted() and answer[_FRAME_TYPE : _FRAME_TYPE + 1] != bytes((_SETTINGS,)):
        raise HarnessError(f"what answers at {title} is no Ray cluster", _HINT)


def _answer(host: str, port: int) -> OSError | bytes:
    """Return the header of the first frame that a server sends, or why there is none."""
    answer = b""
    try:
        with socket.create_connection((host, port), timeout=PATIENCE) as connection:
            if _encrypted():
                return b""
            connection.sendall(_HELLO)
            while len(answer) < _FRAME_HEADER:
                if not (part := connection.recv(_FRAME_HEADER - len(answer))):
                    return ConnectionResetError(0, "it hung up without an answer")
                answer += part
    except (OSError, UnicodeError) as error:  # a name may be no name for the lookup
        return error if isinstance(error, OSError) else OSError(0, "no such host")
    return answer


def _encrypted() -> bool:
    """Return whether Ray would speak TLS, of which this knows nothing."""
    return os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true")
