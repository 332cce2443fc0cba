"""GenEval's folder layout: `00012/metadata.jsonl`, `00012/samples/0000.png`.

Source: `generation/diffusers_generate.py` and `evaluation/evaluate_images.py` of
github.com/djghosh13/geneval. As there, folders and images are taken for what they are by their
numeric names and anything else is passed over. Unlike there, JPEG is read too, and the order is
that of the numbers, not the one in which the file system happens to list them.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.records import Prompt
from harness.seeds import canonical_json

METADATA, SAMPLES = "metadata.jsonl", "samples"

_IMAGE = re.compile(r"(\d+)\.(?:png|jpe?g)", re.IGNORECASE)
_LAYOUT = f"expected folders like 00000/{METADATA} and 00000/{SAMPLES}/0000.png"


@dataclass(frozen=True)
class PromptFolder:
    """One prompt's folder.

    Attributes:
        path: The folder.
        prompt: What its images were made for; its id is the folder's name.
        images: Its images by ascending number.
    """

    path: Path
    prompt: Prompt
    images: tuple[Path, ...]


def read_layout(root: Path) -> list[PromptFolder]:
    """All prompts' folders, by ascending number, without reading an image.

    Raises:
        UsageError: There is no such folder, nothing in it has the layout, a prompt's metadata
            cannot be read, or two of its images have the same number.
    """
    folders = numbered_folders(root)
    return [PromptFolder(f, read_prompt(f), _images(f)) for f in folders]


def numbered_folders(root: Path) -> list[Path]:
    """The folders with numeric names, by number.

    Raises:
        UsageError: There is no such folder, or none in it.
    """
    if not root.is_dir():
        raise UsageError(f"there is no folder {root}", _LAYOUT)
    folders = [path for path in root.iterdir() if path.is_dir() and path.name.isdecimal()]
    if not folders:
        raise UsageError(f"{root} holds no prompts' folders", _LAYOUT)
    return sorted(folders, key=lambda path: (int(path.name), path.name))


def read_prompt(folder: Path) -> Prompt:
    """A prompt from its folder's metadata.

    Raises:
        UsageError: The file is missing or not what GenEval writes.
    """
    file = folder / METADATA
    try:
        # One JSON object; strict enough that whatever is read can be hashed and written again.
        metadata = json.loads(file.read_text(encoding="utf-8-sig"), parse_constant=_no_constant)
        canonical_json(metadata).encode()
    except FileNotFoundError:
        raise UsageError(f"{folder} has no {METADATA}", _LAYOUT) from None
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(
            f"{file} cannot be read as JSON: {error}", "it holds one prompt's metadata"
        ) from None
    text = metadata.get("prompt") if isinstance(metadata, dict) else None
    tag = metadata.get("tag", "") if isinstance(metadata, dict) else None
    if not isinstance(text, str) or not text or not isinstance(tag, str):
        raise UsageError(f"{file} lacks the text of a prompt", 'e.g. {"tag": …, "prompt": …}')
    return Prompt(folder.name, text, tag, metadata)


def write_prompt(folder: Path, metadata: Any) -> None:
    """Make a prompt's folder, as GenEval's generation script does."""
    (folder / SAMPLES).mkdir(parents=True, exist_ok=True)
    (folder / METADATA).write_text(json.dumps(metadata), encoding="utf-8")


def numbered_images(folder: Path, pattern: re.Pattern[str] = _IMAGE) -> dict[int, Path]:
    """A prompt's files by number.

    Args:
        folder: The prompt's folder.
        pattern: What their names match entirely; its first group is the number.

    Raises:
        UsageError: Two have the same number.
    """
    found: dict[int, Path] = {}
    samples = folder / SAMPLES
    for path in sorted(samples.iterdir()) if samples.is_dir() else ():
        match = pattern.fullmatch(path.name)
        if match is None:
            continue
        number = int(match[1])
        if number in found:
            raise UsageError(
                f"{found[number].name} and {path.name} in {samples} have the same number",
                "move one of them away",
            )
        found[number] = path
    return dict(sorted(found.items()))


def _images(folder: Path) -> tuple[Path, ...]:
    return tuple(numbered_images(folder).values())


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")
