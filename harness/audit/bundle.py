"""A run in one file for an auditor elsewhere: manifest, log, selected images, the audit's results.

A zip file, read as a stranger's: only names that a run folder has are unpacked, so nothing lands
outside the folder that is made for it, and no more than a stated size.
"""

from __future__ import annotations

import io
import json
import lzma
import os
import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from harness.audit.audited_run import AuditedRun
from harness.audit.result import CannotCheck, Result
from harness.errors import HarnessError, UsageError, first_line
from harness.log.environment import environment
from harness.log.files import atomic_file, make_folder, read_file
from harness.log.images import image_path
from harness.log.location import local
from harness.log.prompts import prompts_path
from harness.log.run_folder import RunFolder
from harness.log.shards import repair_hint
from harness.text import parse_json

FACTS = "bundle.json"
"""In the file: which images were taken along, where it was packed, and what an audit said."""

LARGEST, MOST_FILES = 16 * 2**30, 100_000
"""Bytes that a bundle may unpack to, and the files that it may hold."""

LARGEST_RATIO, SMALL = 20, 64 * 2**20
"""Times its own size that a bundle may unpack to, if that is more than `SMALL` bytes. What takes
room in a bundle, images and Parquet, is compressed as it is."""

LARGEST_DIRECTORY = 160 * MOST_FILES
"""Bytes that the list of a bundle's files may take."""

LARGEST_FILE = 2**30
"""Bytes of the largest file that is packed."""

LARGEST_FACTS = 64 * 2**20
"""Bytes of the largest `bundle.json` that is read."""

_NAMES = re.compile(
    r"manifest\.json|prompts\.jsonl|bundle\.json|log/[a-z]+-[\d-]+-[0-9a-f]{16}\.parquet"
    r"|images/[0-9a-f]{2}/[0-9a-f]{32}\.png"
)


def pack(run: AuditedRun, results: Sequence[Result], out: Path) -> int:
    """Write a run's bundle; returns how many images are in it.

    Raises:
        HarnessError: Its log cannot be read, or the file not be written.
    """
    root = local(run.folder.path)
    try:
        images = _selected(run)
    except CannotCheck as error:
        raise HarnessError(
            f"{root} cannot be packed: {error}", repair_hint(run.folder.log)
        ) from error
    paths = [local(run.folder.manifest), *sorted(local(run.folder.log).glob("*.parquet"))]
    if run.holds_prompts:
        paths.append(local(prompts_path(run.folder)))
    facts = {
        "images": "selected" if images else "none",
        "environment": environment(),
        "audit": [asdict(result) for result in results],
    }
    if len(paths) + len(images) >= MOST_FILES:
        raise HarnessError(f"{root} has more files to pack than the {MOST_FILES} of a bundle")
    with atomic_file(out) as target, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as file:
        for path in [*paths, *images]:
            try:
                data = read_file(path, LARGEST_FILE)
            except OSError as error:
                raise HarnessError(f"cannot read {path}: {first_line(error)}") from error
            file.writestr(path.relative_to(root).as_posix(), data)
        file.writestr(FACTS, json.dumps(facts, indent=2))
    return len(images)


def _selected(run: AuditedRun) -> list[Path]:
    digests = {
        row["image"]
        for key, rows in run.by_search(["image"])
        for row in rows
        if row["draw_index"] == run.selected(key)
    }
    paths = {local(image_path(run.folder.images, digest)) for digest in digests if digest}
    return sorted(path for path in paths if path.is_file())


_DAMAGE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    RuntimeError,  # encrypted, or packed in a way that nobody here knows
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)


def _extract(packed: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> None:
    """Unpack one file piece by piece, never more of it than it claims to have."""
    make_folder(target.parent)
    left = entry.file_size
    with packed.open(entry) as source, target.open("xb") as file:
        while piece := source.read(min(2**20, left + 1)):
            left -= len(piece)
            if left < 0:
                raise ValueError(f"'{entry.filename}' unpacks to more than it claims")
            file.write(piece)


class _Bounded(io.BufferedReader):
    """A zip file of which at once no more is read than the largest list of files has.

    Python reads that list whole before anybody can ask how long it is.
    """

    def read(self, size: int | None = -1, /) -> bytes:
        """Read bytes, if no more are asked for than the list of a bundle's files may have."""
        if size is None or size < 0:
            size = os.fstat(self.fileno()).st_size - self.tell()
        if size > LARGEST_DIRECTORY:
            raise ValueError(f"its list of files has more than {LARGEST_DIRECTORY} bytes")
        return super().read(size)


def unpack(file: Path, folder: Path) -> tuple[RunFolder, str]:
    """Unpack a bundle into an empty folder; returns the run and which images it brings.

    Raises:
        UsageError: It is no bundle, or holds what does not belong in one.
    """
    try:
        with _Bounded(io.FileIO(file)) as source, zipfile.ZipFile(source) as packed:
            entries = packed.infolist()
            if len(entries) > MOST_FILES:
                raise UsageError(f"{file} holds more than {MOST_FILES} files")
            largest = min(LARGEST, max(SMALL, LARGEST_RATIO * os.fstat(source.fileno()).st_size))
            if sum(entry.file_size for entry in entries) > largest:
                raise UsageError(f"{file} would unpack to more than {largest} bytes")
            for entry in entries:
                if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise UsageError(f"{file} is no bundle: '{entry.filename}' is packed otherwise")
                if not _NAMES.fullmatch(entry.filename):
                    raise UsageError(f"{file} holds '{entry.filename}', which is no file of a run")
                _extract(packed, entry, folder / entry.filename)
        facts = parse_json(read_file(folder / FACTS, LARGEST_FACTS).decode())
        images = str(facts["images"])
    except _DAMAGE as error:
        raise UsageError(
            f"{file} is no bundle: {first_line(error)}",
            "`python -m harness bundle RUN --out FILE` makes one",
        ) from error
    return RunFolder.existing(folder), "none" if images == "none" else "selected"
