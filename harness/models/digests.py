"""The digest of a checkpoint folder: the part of a draw's identity that names a model.

Large files are hashed once: their digests are remembered in the user's cache folder by path, size,
inode and times, the one included that no program can set. The cache only saves time; a damaged one
is ignored and rewritten.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from pathlib import Path

from harness.errors import HarnessError
from harness.log.files import write_json
from harness.models.contents import SUFFIXES, model_files
from harness.seeds import digest
from harness.text import expanded

REMEMBER_FROM = 1 << 20
"""Smaller files (bytes) are hashed anew each time; it is as quick as asking the cache."""

_SETTLED_SECONDS = 2.0
_KEY_FIELDS = 5  # beside the path; keys of older programs have fewer, and fall out


def folder_digest(folder: Path, *, code: bool = False) -> str:
    """SHA-256 over the names and contents of the files that determine the model in a folder.

    Args:
        folder: The folder; `harness.models.contents` says which of its files these are.
        code: Count the code in it, which is run.

    Returns:
        64 hex characters.

    Raises:
        HarnessError: The folder does not exist, holds no such file, or names files outside of it.
    """
    if not folder.is_dir():
        raise HarnessError(f"checkpoint folder {folder} does not exist")
    files = model_files(folder, code=code)
    if not files:
        raise HarnessError(f"{folder} holds no checkpoint: no {', '.join(SUFFIXES)} file in it")
    remembered = _read_cache()
    known = dict(remembered)
    entries = []
    for name in files:
        path = folder / name
        stat = path.stat()
        if stat.st_size < REMEMBER_FROM:
            entries.append([name, _file_digest(path)])
            continue
        times = f"{stat.st_mtime_ns}|{stat.st_ctime_ns}"
        key = f"{path.resolve()}|{stat.st_size}|{stat.st_dev}|{stat.st_ino}|{times}"
        if key not in known:
            known[key] = _file_digest(path)
        entries.append([name, known[key]])
        if time.time() - max(stat.st_mtime, stat.st_ctime) < _SETTLED_SECONDS:
            # A file this young may still change within its timestamp's resolution.
            del known[key]
    if known != remembered:
        _write_cache(known)
    return digest(entries)


def cache_file() -> Path:
    """Return the file in which the digests of large files are remembered."""
    root = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return expanded(root) / "inference-scaling-harness" / "digests.json"


def _file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _read_cache() -> dict[str, str]:
    try:
        entries = json.loads(cache_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(entries, dict):
        return {}
    return {
        key: value
        for key, value in entries.items()
        if isinstance(value, str) and len(value) == 64 and key.count("|") >= _KEY_FIELDS
    }


def _write_cache(known: dict[str, str]) -> None:
    target = cache_file()
    # Not being able to remember costs time, not correctness: a read-only home is no error.
    with contextlib.suppress(OSError, HarnessError):
        target.parent.mkdir(parents=True, exist_ok=True)
        write_json(target, {**_read_cache(), **known})
