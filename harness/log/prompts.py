"""The prompts of a run, kept with it: what a finished run rests on does not change under it.

One prompt a line in canonical JSON, so that the file's SHA-256 is the prompt set's digest in the
manifest. Runs of former versions have no such file where their prompts are a benchmark's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.errors import HarnessError, first_line
from harness.log.files import read_file, write_atomically
from harness.log.location import Location
from harness.log.manifest import Manifest, PromptSet
from harness.log.run_folder import RunFolder
from harness.records import Prompt
from harness.text import json_lines, parse_json

LARGEST = 512 * 2**20
"""Bytes of the largest file of prompts that is read."""


def prompts_path(folder: RunFolder) -> Location:
    """Return where a run's prompts are or would be."""
    return folder.path / "prompts.jsonl"


def write_prompts(folder: RunFolder, prompts: Sequence[Prompt]) -> None:
    """Write a run's prompts, before its manifest names them.

    Raises:
        HarnessError: The file cannot be written.
    """
    write_atomically(prompts_path(folder), "".join(PromptSet.lines(prompts)).encode())


def kept_prompts(folder: RunFolder, manifest: Manifest) -> list[Prompt] | None:
    """Return the prompts that lie in a run's folder, in order; None if none do.

    Raises:
        HarnessError: The file cannot be read, or is not the one that the manifest names.
    """
    path = prompts_path(folder)
    try:
        text = read_file(path, LARGEST).decode()
        prompts = [_prompt(parse_json(line)) for _, line in json_lines(text)]
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise HarnessError(
            f"{path} cannot be read: {first_line(error)}", "restore it from a copy"
        ) from error
    if PromptSet.of(prompts) != manifest.prompt_set:
        raise HarnessError(
            f"{path} does not hold the prompts that the manifest names", "restore it from a copy"
        )
    return prompts


def _prompt(fields: Any) -> Prompt:
    if isinstance(fields, dict):  # as former versions wrote them
        fields = [fields.get(name) for name in ("id", "text", "tag", "metadata")]
    if not isinstance(fields, list) or len(fields) != 4:
        raise ValueError("a line is no prompt")
    *texts, metadata = fields
    if not all(isinstance(text, str) for text in texts) or not isinstance(metadata, dict):
        raise ValueError("a line is no prompt")
    identity, text, tag = texts
    return Prompt(identity, text, tag, metadata)
