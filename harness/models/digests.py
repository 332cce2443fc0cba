"""What a checkpoint folder holds, as one digest: the part of a draw's identity that names a model.

Large files are hashed once: their digests are remembered in the user's cache folder by path,
size and modification time. The cache only saves time; a damaged one is ignored and rewritten.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from pathlib import Path

from harness.errors import HarnessError
from harness.seeds import digest

SUFFIXES = (".jinja", ".json", ".model", ".safetensors", ".txt")
"""Files that determine a model: configurations, vocabularies, chat templates, weights."""

REMEMBER_FROM = 1 << 20
"""Smaller files (bytes) are hashed anew each time; it is as quick as asking the cache."""

_SETTLED_SECONDS = 2.0
_CHUNK = 1 << 22


def folder_digest(folder: Path) -> str:
    """SHA-256 over the names and contents of the files that determine the model in a folder.

    README, LICENSE and NOTICE, images, pickled weights (never loaded) and hidden files do not
    count, so that a copy made with or without them has the same digest.

    Returns:
        64 hex characters.

    Raises:
        HarnessError: The folder does not exist or holds no such file.
    """
    if not folder.is_dir():
        raise HarnessError(f"checkpoint folder {folder} does not exist")
    files = _model_files(folder)
    if not files:
        raise HarnessError(f"{folder} holds no checkpoint: no {', '.join(SUFFIXES)} file in it")
    remembered = _read_cache()
    known = dict(remembered)
    entries = []
    for name in sorted(files):
        path = folder / name
        stat = path.stat()
        if stat.st_size < REMEMBER_FROM:
            entries.append([name, _file_digest(path)])
            continue
        key = f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}"
        if key not in known:
            known[key] = _file_digest(path)
        entries.append([name, known[key]])
        if time.time() - stat.st_mtime < _SETTLED_SECONDS:
            # A file this young may still change within its timestamp's resolution.
            del known[key]
    if known != remembered:
        _write_cache(known)
    return digest(entries)


def cache_file() -> Path:
    """Where the digests of large files are remembered."""
    root = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(root).expanduser() / "inference-scaling-harness" / "digests.json"


def _model_files(folder: Path) -> list[str]:
    names = []
    for path in folder.rglob("*"):
        relative = path.relative_to(folder)
        if any(part.startswith(".") for part in relative.parts):
            continue
        if path.stem.upper().startswith(("README", "LICENSE", "NOTICE")):
            continue
        if path.suffix in SUFFIXES and path.is_file():
            names.append(relative.as_posix())
    return names


def _file_digest(path: Path) -> str:
    hasher = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            hasher.update(chunk)
    return hasher.hexdigest()


def _read_cache() -> dict[str, str]:
    try:
        found = json.loads(cache_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {k: v for k, v in found.items() if isinstance(v, str) and len(v) == 64}


def _write_cache(known: dict[str, str]) -> None:
    target = cache_file()
    temporary = None
    # Not being able to remember costs time, not correctness: a read-only home is no error.
    with contextlib.suppress(OSError):
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=target.parent, suffix=".tmp")
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump({**_read_cache(), **known}, stream, indent=0, sort_keys=True)
        os.replace(temporary, target)
        temporary = None
    if temporary is not None:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
