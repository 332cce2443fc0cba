"""The prompts of a run, kept with it: what a finished run rests on does not change under it.

One prompt a line in canonical JSON, so that the file's SHA-256 is the prompt set's digest in the
manifest. Runs of former versions have no such file where their prompts are a benchmark's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from harness.errors import HarnessError, first_line
from harness.log.files import read_file, write_atomically
from harness.log.location import Location
from harness.log.manifest import Manifest, PromptSet
from harness.log.run_folder import RunFolder
from harness.records import Prompt
from harness.seeds import canonical_json
from harness.text import json_lines, parse_json

LARGEST = 64 * 2**20
"""Bytes that the prompts of a run may take."""

_FIELDS = ("id", "text", "tag", "metadata")


def prompts_path(folder: RunFolder) -> Location:
    """Return where a run's prompts are or would be."""
    return folder.path / "prompts.jsonl"


def write_prompts(folder: RunFolder, prompts: Sequence[Prompt]) -> None:
    """Write a run's prompts, before its manifest names them.

    Raises:
        HarnessError: They take more than `LARGEST` bytes, or the file cannot be written.
    """
    data = "".join(PromptSet.lines(prompts)).encode()
    if len(data) > LARGEST:
        raise HarnessError(
            f"the {len(prompts)} prompts take {len(data)} bytes, and a run keeps {LARGEST} at most",
            "split them over several runs",
        )
    write_atomically(prompts_path(folder), data)


def stored_prompts(folder: RunFolder, manifest: Manifest) -> list[Prompt] | None:
    """Return the prompts that lie in a run's folder, in order; None if none do.

    Raises:
        HarnessError: The file cannot be read, or is not the one that the manifest names.
    """
    try:
        data = read_file(prompts_path(folder), LARGEST)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _damaged(folder, error.strerror or first_line(error)) from error
    try:
        prompts = [_prompt(line) for _, line in json_lines(data.decode())]
    except ValueError as error:
        raise _damaged(folder, first_line(error)) from error
    if PromptSet.of(prompts) != manifest.prompt_set:
        raise _damaged(folder, "it does not hold the prompts that the manifest names")
    if len({prompt.id for prompt in prompts}) < len(prompts):
        raise _damaged(folder, "two of its prompts have the same id")
    return prompts


def check_prompts(folder: RunFolder, manifest: Manifest) -> None:
    """See that the prompts a run keeps are those that its manifest names.

    Raises:
        HarnessError: They are not.
    """
    try:
        data = read_file(prompts_path(folder), LARGEST)
    except OSError:
        data = b""
    if hashlib.sha256(data).hexdigest() != manifest.prompt_set.digest:
        stored_prompts(folder, manifest)  # says what is wrong, or that a former version wrote it


def _prompt(line: str) -> Prompt:
    """Read one line."""
    row = parse_json(line)
    if isinstance(row, dict):  # as former versions wrote those of images from elsewhere
        row = [row.get(name) for name in _FIELDS] if row.keys() == set(_FIELDS) else None
    if not isinstance(row, list) or len(row) != len(_FIELDS):
        raise ValueError(f"a line of it is not a list of {', '.join(_FIELDS)}")
    for name, value in zip(_FIELDS, row, strict=True):
        if not _fits(name, value):
            raise ValueError(f"a prompt's {name} is {canonical_json(value)}")
    return Prompt(*row)


def _fits(name: str, value: Any) -> bool:
    if name == "metadata":
        return isinstance(value, dict)
    if not isinstance(value, str) or (name == "id" and not value):
        return False
    value.encode()  # a half of a surrogate pair is no character
    return True


def _damaged(folder: RunFolder, what: str) -> HarnessError:
    return HarnessError(
        f"{prompts_path(folder)} is damaged: {what[:200]}",
        f"`python -m harness repair {folder.path}` writes it again where its source still gives "
        "these prompts; else restore it from a copy",
    )
