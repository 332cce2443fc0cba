"""Images that were made elsewhere for a benchmark's own prompts: which file is whose.

Three forms are known. GenEval 2's official dictionary: a JSON object from prompts' texts to files.
GenEval's folder layout, whose metadata say each prompt's text. And one folder of files that are
named by prompt: by its id, up to the first dot, as DPG-Bench's are, or by its number in the
benchmark's order, where no id is another number. A prompt without an image is in no score, and said
to be missing; what is passed over is said too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UsageError, first_line, shortened
from harness.interop.layout import (
    NO_IMAGES,
    PromptFolder,
    has_text,
    listed,
    passed_over,
    read_layout,
)
from harness.records import Prompt
from harness.text import parse_json, read_text

SUFFIXES = (".png", ".jpg", ".jpeg")
"""Of what is taken for an image by its name."""

_FORMS = (
    "give a JSON object from prompts' texts to files, folders like 00000/metadata.jsonl and "
    "00000/samples/0000.png, or files named by the prompts' ids or numbers"
)


@dataclass(frozen=True)
class Matched:
    """Images by prompt.

    Attributes:
        files: Prompt and file of each image, by prompt in the benchmark's order.
        notes: What has to be said of files and prompts that have no counterpart.
    """

    files: tuple[tuple[Prompt, Path], ...]
    notes: tuple[str, ...]


def match(images: Path, prompts: Sequence[Prompt]) -> Matched:
    """Find the files of a benchmark's prompts.

    Raises:
        UsageError: It is in none of the forms, or nothing in it is of these prompts.
    """
    notes: list[str] = []
    if images.is_dir():
        entries = listed(images)
        if any(path.name.isdecimal() and path.is_dir() for path in entries):
            folders = read_layout(images, has_text)
            pairs, notes = _of_layout(folders, prompts), passed_over(folders)
        else:
            pairs = _of_folder(entries, prompts)
    elif images.suffix.lower() == ".json":
        pairs = _of_dictionary(images, prompts)
    else:
        raise UsageError(f"{images} is neither a folder nor a .json file", _FORMS)
    files: dict[str, list[Path]] = {prompt.id: [] for prompt in prompts}
    strangers = []
    for prompt, path in pairs:
        if isinstance(prompt, Prompt):
            files[prompt.id].append(path)
        else:
            strangers.append(prompt)
    known = [(prompt, path) for prompt in prompts for path in files[prompt.id]]
    if not known:
        raise UsageError(f"nothing in {images} is an image of the benchmark's prompts", _FORMS)
    if strangers:
        notes.append(f"{len(strangers)} of no prompt passed over: {shortened(strangers, 3)}")
    if missing := [prompt.id for prompt in prompts if not files[prompt.id]]:
        notes.append(
            f"{len(missing)} of {len(prompts)} prompts have no image, so that no score here is the "
            f"whole benchmark's: {shortened(missing, 3)}"
        )
    counts = Counter(len(paths) for paths in files.values() if paths)
    if len(counts) > 1:
        notes.append("prompts have different numbers of images")
    return Matched(tuple(known), tuple(notes))


_Pairs = Iterator[tuple[Prompt | str, Path]]
"""A prompt, or what is said of a file that is of none."""


def _of_dictionary(file: Path, prompts: Sequence[Prompt]) -> _Pairs:
    try:
        value = parse_json(read_text(file))
    except ValueError as error:
        raise UsageError(f"{file} cannot be read as JSON: {error}", _FORMS) from None
    if not isinstance(value, dict) or not all(isinstance(path, str) for path in value.values()):
        raise UsageError(f"{file} is no JSON object from prompts' texts to files", _FORMS)
    texts = _by_text(prompts)
    for text, name in value.items():
        # Officially from the working directory; a dictionary that travels lies beside its images.
        here, beside = Path(name), file.parent / name
        try:
            path = here if here.exists() else beside
            path.lstat()
        except (OSError, ValueError) as error:
            raise UsageError(
                f"{file}: there is no image {name[:80]!r}: {first_line(error)}",
                "leave prompts without an image out",
            ) from None
        known = texts.get(text.strip(), [])
        for prompt in known:  # prompts of one text share its image, as officially
            yield prompt, path
        if not known:
            yield f"'{text[:60]}'", path


def _of_layout(folders: Sequence[PromptFolder], prompts: Sequence[Prompt]) -> _Pairs:
    texts = _by_text(prompts)
    for folder in folders:
        of_text = texts.get(folder.prompt.text.strip())
        why = f"{folder.path.name}{f' ({folder.refusal})' if folder.refusal else ''}"
        for path in folder.images:
            yield of_text[0] if of_text else why, path


def _of_folder(paths: Sequence[Path], prompts: Sequence[Prompt]) -> _Pairs:
    ids = {prompt.id: prompt for prompt in prompts}
    # Where ids are numbers of their own, as most of DPG-Bench's, a number can only be an id.
    numbered = all(int(p.id) == n for n, p in enumerate(prompts) if p.id.isdecimal())
    for path in sorted(paths, key=lambda path: path.name):
        if path.name.startswith(".") or path.suffix.lower() in NO_IMAGES:
            continue
        name = path.name.split(".")[0]
        if path.suffix.lower() not in SUFFIXES or path.is_dir():
            yield path.name, path
        elif name in ids:
            yield ids[name], path
        elif numbered and name.isdecimal() and len(name) < 10 and int(name) < len(prompts):
            yield prompts[int(name)], path
        else:
            yield path.name, path


def _by_text(prompts: Sequence[Prompt]) -> dict[str, list[Prompt]]:
    texts: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        texts.setdefault(prompt.text.strip(), []).append(prompt)
    return texts
