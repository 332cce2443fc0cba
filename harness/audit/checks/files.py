"""Claim: the log consists of the files that the manifest lists, unchanged, and of no others.

Every shard's name carries the digest of its bytes.
"""

from __future__ import annotations

import hashlib

from harness.audit.audited_run import AuditedRun
from harness.audit.result import Problems, Result, concluded, count
from harness.errors import HarnessError
from harness.log import shards
from harness.log.files import read_file
from harness.log.manifest import FINISHED
from harness.log.schema import TABLES


def check(run: AuditedRun) -> Result:
    """Hold the log's folder against the manifest, and every file against its name."""
    problems = Problems()
    folder = run.folder.log
    there = sorted(path.name for path in folder.glob("*") if not path.name.startswith("."))
    used: dict[str, shards.Shard] = {}
    for table in TABLES:
        try:
            used |= {shard.path.name: shard for shard in shards.discover(folder, table)}
        except HarnessError as error:
            problems.add(error.message)
    listed = list(run.manifest.files)
    if run.manifest.state == FINISHED:
        for name in listed:
            if name not in there:
                problems.add(f"{name} is listed and not there")
        for name in there:
            if name not in listed:
                problems.add(f"{name} is there and not listed")
    for name in there:
        if name not in used and name in listed:
            problems.add(f"{name} is part of no table")
        try:
            digest = hashlib.sha256(read_file(folder / name, shards.LARGEST)).hexdigest()[:16]
        except OSError as error:
            problems.add(f"{name} cannot be read: {error.strerror or error}")
            continue
        if not name.endswith(f"-{digest}.parquet"):
            problems.add(f"{name} has bytes of digest {digest}")
        elif name in used and (what := shards.verify(used[name])):
            problems.add(f"{name} is no shard: {what}")
    return concluded(f"{count(len(there), 'file')} of the log", problems)
