"""Code beside a checkpoint, which is run only where the run's own spec of a model asks for it.

A custom pipeline, a custom part of one, a model that transformers calls remote code: whoever wrote
the checkpoint decides what they do. `ModelSpec.trust_remote_code` is the user's word that they may
run, and belongs to the run's identity, as the code does to the checkpoint's digest. A manifest is
somebody else's word: what it asks for is run within `import_paths(allowed=True)` only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from harness.registry import check_allowed

_trusted: ContextVar[bool] = ContextVar("_trusted", default=False)

HINT = (
    "read it first; to have it run, add --trust-remote-code, or trust_remote_code = true to the "
    "model in a suite's file: the manifest then says so"
)


@contextmanager
def remote_code(*, trusted: bool) -> Iterator[None]:
    """Within it, code beside checkpoints is run, or refused, as it is outside of any such block.

    Args:
        trusted: Which of the two: a spec's `trust_remote_code`.

    Raises:
        ImportRefused: A manifest asks for it, and nobody here has.
    """
    if trusted:
        check_allowed(
            "the manifest has code beside a checkpoint run, which is done with --plugins only",
            "add --plugins if that code is yours or you trust it",
        )
    before = _trusted.set(trusted)
    try:
        yield
    finally:
        _trusted.reset(before)


def is_trusted() -> bool:
    """Return whether code beside a checkpoint may be run here."""
    return _trusted.get()


def trusting(config: Mapping[str, Any]) -> list[str]:
    """Return the roles of a run, by its config as a manifest holds it, whose code may run."""
    roles = ("generator", "judge", "scorer", "metric")
    return [role for role in roles if (config.get(role) or {}).get("trust_remote_code")]
