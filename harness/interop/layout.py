"""GenEval's folder layout: `00012/metadata.jsonl`, `00012/samples/0000.png`.

Source: `generation/diffusers_generate.py` and `evaluation/evaluate_images.py` of
github.com/djghosh13/geneval. As there, folders and images are taken for what they are by their
numeric names and anything else is passed over; a PNG stands where a JPEG has the same number.
Unlike there, JPEG is read too, the order is that of the numbers, not the one in which the file
system happens to list them, what is passed over is counted, and a prompt whose metadata is no good
is refused by name while the others go on.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.records import Prompt
from harness.text import is_encodable, parse_json, read_text

METADATA, SAMPLES = "metadata.jsonl", "samples"

MAX_METADATA_BYTES = 16 * 2**20
"""The largest metadata file that is read."""

_IMAGE = re.compile(r"(\d+)\.(?:png|jpe?g)", re.IGNORECASE)
_LAYOUT = f"expected folders like 00000/{METADATA} and 00000/{SAMPLES}/0000.png"
NO_IMAGES = (".json", ".jsonl", ".txt")
"""Suffixes of notes about images, which nobody would take for one."""
_LISTED = 5

Validate = Callable[[Any], Mapping[str, Any]]
"""From what a metadata file holds to a row with the text of a prompt, or a UsageError."""


@dataclass(frozen=True)
class PromptFolder:
    """One prompt's folder.

    Attributes:
        prompt: What its images were made for; its id is the folder's name.
        images: Its images by ascending number.
        refusal: Why its metadata is no good, naming file, line and key; "" if it is.
        beside: Names of JPEG files whose number a PNG has, which stands.
        passed_over: Names of all other files in its folder of images.
    """

    path: Path
    prompt: Prompt
    images: tuple[Path, ...]
    refusal: str = ""
    beside: tuple[str, ...] = ()
    passed_over: tuple[str, ...] = ()


def read_layout(root: Path, validate: Validate | None = None) -> list[PromptFolder]:
    """Read all prompts' folders, by ascending number, without reading an image.

    Rows of metadata must pass `validate`, by default `has_text`.

    Raises:
        UsageError: There is no such folder, or nothing in it has the layout.
    """
    return [_read_folder(path, validate or has_text) for path in numbered_folders(root)]


def numbered_folders(root: Path) -> list[Path]:
    """Return the folders with numeric names, by number.

    Raises:
        UsageError: There is no such folder, or none in it.
    """
    if not root.is_dir():
        raise UsageError(f"there is no folder {root}", _LAYOUT)
    folders = [path for path in listed(root) if path.name.isdecimal() and path.is_dir()]
    if not folders:
        raise UsageError(f"{root} holds no prompts' folders", _LAYOUT)
    return sorted(folders, key=lambda path: (int(path.name), path.name))


def listed(root: Path) -> list[Path]:
    """Return what is directly in a folder.

    Raises:
        UsageError: It cannot be listed.
    """
    try:
        return list(root.iterdir())
    except OSError as error:
        raise _unreadable(root, error) from error


def read_prompt(
    folder: Path, validate: Validate, *, nan_is_null: bool = False
) -> tuple[Prompt, str]:
    """Read a prompt from its folder's metadata, whose row must pass `validate`.

    NaN, which programs write for empty cells of a table, may be read as null.

    Returns:
        The prompt, and why its metadata is refused, naming file, line and key; "" if it is not.
    """
    where = ""
    try:
        row, line = read_row(folder, nan_is_null=nan_is_null)
        where = f"{folder / METADATA}, line {line}: "
        metadata = validate(row)
    except UsageError as error:
        return _readable(folder), where + error.message
    return Prompt(folder.name, metadata["prompt"], metadata.get("tag", ""), metadata), ""


def read_row(folder: Path, *, nan_is_null: bool = False) -> tuple[Any, int]:
    """Read the JSON value of a folder's metadata, and the line on which it begins.

    Raises:
        UsageError: The file is missing, or is no JSON.
    """
    file = folder / METADATA
    if not file.exists():
        raise UsageError(f"{folder} has no {METADATA}", _LAYOUT)
    text = read_text(file, limit=MAX_METADATA_BYTES)
    begin = 1 + text[: len(text) - len(text.lstrip())].count("\n")
    hint = "it holds one prompt's metadata, as one JSON object"
    if not text.strip():
        raise UsageError(f"{file}, line 1: empty", hint)
    try:
        return parse_json(text, nan_is_null=nan_is_null), begin
    except ValueError as error:
        line = error.lineno if isinstance(error, json.JSONDecodeError) else begin
        raise UsageError(f"{file}, line {line}: cannot be read as JSON: {error}", hint) from None


def has_text(row: Any) -> Mapping[str, Any]:
    """Return a row of any benchmark's metadata, if it has a prompt's text.

    Raises:
        UsageError: The row is no object, has no text, or its tag is none.
    """
    text = row.get("prompt") if isinstance(row, dict) else None
    if not isinstance(text, str) or not text.strip() or not is_encodable(text):
        raise UsageError("lacks the text of a prompt ('prompt')", 'e.g. {"tag": …, "prompt": …}')
    tag = row.get("tag")
    if tag is not None and (not isinstance(tag, str) or not is_encodable(tag)):
        raise UsageError(f"'tag' is {json.dumps(tag)[:40]}, expected text")
    return {key: value for key, value in row.items() if key != "tag" or value is not None}


def _readable(folder: Path) -> Prompt:
    """Return what can be said of a prompt whose metadata is refused: its tag, if that is one."""
    try:
        row, _ = read_row(folder, nan_is_null=True)
    except UsageError:
        return Prompt(folder.name, "")
    known = row if isinstance(row, dict) else {}
    text, tag = (
        value if isinstance(value := known.get(key), str) and is_encodable(value) else ""
        for key in ("prompt", "tag")
    )
    return Prompt(folder.name, text, tag)


def group(prompts: Sequence[tuple[Prompt, str]]) -> list[Prompt]:
    """Replace prompts of equal metadata by the first of them, as the official summary counts them.

    With each comes why its metadata is refused ("" if it is not); what is refused equals nothing.
    """
    first: dict[str, Prompt] = {}
    # The text that the official `summary_scores.py` groups by.
    return [
        prompt if refusal else first.setdefault(json.dumps(prompt.metadata), prompt)
        for prompt, refusal in prompts
    ]


def hub_store(root: Path) -> Path:
    """Return the folder that links in a folder may lead to: itself, or the hub's cache it is of.

    The cache of the Hugging Face hub keeps a snapshot as links to `blobs` beside `snapshots`.
    """
    resolved = root.resolve()
    for parent in resolved.parents:
        if parent.name == "snapshots" and (parent.parent / "blobs").is_dir():
            return parent.parent
    return resolved


def write_prompt(folder: Path, metadata: Any) -> None:
    """Make a prompt's folder, as GenEval's generation script does."""
    (folder / SAMPLES).mkdir(parents=True, exist_ok=True)
    (folder / METADATA).write_text(json.dumps(metadata), encoding="utf-8")


def numbered_files(
    folder: Path, pattern: re.Pattern[str]
) -> tuple[list[tuple[int, Path]], list[str]]:
    """Find a prompt's files by number, which is the first group of the pattern of their names.

    Returns:
        Numbers and files, by number and name, and the names of all others.

    Raises:
        UsageError: The folder cannot be listed.
    """
    samples = folder / SAMPLES
    files, others = [], []
    try:
        with os.scandir(samples) if samples.is_dir() else nullcontext(()) as entries:
            for entry in entries:
                match = pattern.fullmatch(entry.name)
                if match and not entry.is_dir():
                    files.append((int(match[1]), samples / entry.name))
                else:
                    others.append(entry.name)
    except OSError as error:
        raise _unreadable(samples, error) from error
    return sorted(files, key=lambda file: (file[0], file[1].name)), sorted(others)


def _unreadable(folder: Path, error: OSError) -> UsageError:
    return UsageError(
        f"{folder} cannot be read: {error.strerror or error}", "check that you may read it"
    )


def passed_over(folders: Sequence[PromptFolder]) -> list[str]:
    """Sentences about files that are not taken for images, with their numbers."""
    kinds: Counter[str] = Counter()
    for name in (name for folder in folders for name in folder.passed_over):
        suffix = Path(name).suffix.lower()
        if not name.startswith(".") and suffix not in NO_IMAGES:
            # What has an image's suffix has no number for a name.
            kinds[name if _IMAGE.fullmatch(f"0{suffix}") or not suffix else suffix] += 1
    sentences = []
    if kinds:
        listed = ", ".join(
            f"{name}{f' ×{number}' if number > 1 else ''}"
            for name, number in kinds.most_common(_LISTED)
        )
        more = len(kinds) - _LISTED
        number = sum(kinds.values())
        sentences.append(
            f"{_files(number)} passed over, since only PNG and JPEG with a number for a name are "
            f"images to score: {listed}{f' and {more} more kinds' if more > 0 else ''}"
        )
    if beside := sum(len(folder.beside) for folder in folders):
        sentences.append(
            f"{_files(beside)} passed over beside a PNG of the same number, which is scored"
        )
    return sentences


def _files(number: int) -> str:
    return f"{number} file{'s' if number > 1 else ''}"


def _read_folder(path: Path, validate: Validate) -> PromptFolder:
    numbered, others = numbered_files(path, _IMAGE)
    png = {number for number, file in numbered if file.suffix.lower() == ".png"}
    images: list[Path] = []
    beside: list[Path] = []
    for number, file in numbered:
        # As officially, every PNG counts ("0.png" and "0000.png" both), and no JPEG beside one.
        stands = file.suffix.lower() == ".png" or number not in png
        (images if stands else beside).append(file)
    prompt, refusal = read_prompt(path, validate)
    return PromptFolder(
        path, prompt, tuple(images), refusal, tuple(file.name for file in beside), tuple(others)
    )
