"""The file that each row of a scored folder's log is about."""

from __future__ import annotations

import json

from harness.errors import HarnessError
from harness.interop.plan import ScoringPlan, named
from harness.log.files import read_file, write_atomically
from harness.log.run_folder import RunFolder

FILES = "files.jsonl"
"""Beside the manifest: one JSON object an image."""

LARGEST = 2**30
"""Bytes of the largest such file that is read."""


def write_files(ready: ScoringPlan, folder: RunFolder) -> None:
    """Write the names of the files that will be scored, relative to their folder.

    Raises:
        HarnessError: The file cannot be written.
    """
    rows = (
        {
            "prompt_id": file.prompt.id,
            "replicate": file.replicate,
            "file": named(file.path, ready.root),
        }
        for file in ready.files
    )
    text = "".join(json.dumps(row) + "\n" for row in rows)
    write_atomically(folder.path / FILES, text.encode())


def read_files(folder: RunFolder) -> dict[tuple[str, int], str]:
    """Name of each image's file by prompt and replicate, in the order of scoring.

    Raises:
        HarnessError: The file is missing or damaged.
    """
    file = folder.path / FILES
    try:
        lines = read_file(file, LARGEST).decode().split("\n")
        rows = [json.loads(line) for line in lines if line]
        return {(row["prompt_id"], row["replicate"]): row["file"] for row in rows}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HarnessError(
            f"{file} cannot be read: {error}",
            "restore it from a copy; as long as not all is scored, `score` writes it again",
        ) from error
