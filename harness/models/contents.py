"""The files of a checkpoint folder that determine its model: all that its loaders would read.

A folder may come from anybody. What its own files name for loading (shards in an index, weights in
a configuration) counts whatever it is called, and may not lie outside. Links are followed, since
the hub's cache and many model stores keep files as links: what they lead to is what is loaded.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from harness.errors import HarnessError

SUFFIXES = (".bpe", ".jinja", ".json", ".model", ".safetensors", ".spm", ".tiktoken", ".txt",
            ".vocab")  # fmt: skip
"""Files that determine a model: configurations, vocabularies, chat templates, weights."""

CODE = (".py", ".pyc", ".so")
"""Files that determine a model whose code is run (`harness.models.remote_code`)."""

WEIGHTS = ".safetensors"
_INDEX = f"{WEIGHTS}.index.json"

_NAMING = {"config.json": "transformers_weights", "tokenizer_config.json": "fast_tokenizer_files"}
"""Files of a checkpoint that may name others to load, and the field that does."""

_MAX_FILES = 20_000
_MAX_JSON = 1 << 26

_GET = "get the checkpoint anew, e.g. `hf download ORG/NAME --local-dir FOLDER`"


def model_files(folder: Path, *, code: bool = False) -> list[str]:
    """List the files that determine the model in a folder, sorted by name.

    README, LICENSE and NOTICE, images, pickled weights (never loaded) and hidden files do not
    count, so that a copy made with or without them is the same model; unless another file of the
    model names them for loading.

    Args:
        folder: The folder.
        code: Count the code in it, which is run.

    Returns:
        Names relative to the folder, with forward slashes.

    Raises:
        HarnessError: A file names one outside of its own folder, one that is no safetensors
            file as weights, or code of another repository that is run; there is an adapter, which
            a loader would put on other weights; or there are more files than any model has.
    """
    names = {
        name
        for name in _walk(folder)
        if _counts(name) or (code and PurePosixPath(name).suffix in CODE)
    }
    waiting = sorted(names)
    while waiting:
        name = waiting.pop()
        if code and name.endswith("config.json"):
            _check_code(folder / name)
        for named in _named(folder, name):
            if named not in names and _is_file(folder / named):
                names.add(named)
                waiting.append(named)
    return sorted(names)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # no name that a file can have
        return False


def _walk(folder: Path) -> Iterator[str]:
    """Names of all files that are not hidden, in linked folders too."""
    number = 0
    above: dict[str, set[tuple[int, int]]] = {str(folder): {_place(folder)}}
    for root, folders, files in os.walk(folder, followlinks=True):
        passed = above.pop(root)
        inner = []
        for name in folders:
            path = Path(root, name)
            # A link to a folder that holds it would lead round and round.
            if not name.startswith(".") and (place := _place(path)) not in passed:
                inner.append(name)
                above[os.path.join(root, name)] = {*passed, place}
        folders[:] = inner
        for name in files:
            path = Path(root, name)
            if not name.startswith(".") and path.is_file():
                yield path.relative_to(folder).as_posix()
        number += len(files) + len(inner)
        if number > _MAX_FILES:
            raise HarnessError(
                f"{folder} holds more than {_MAX_FILES} files, which no checkpoint does",
                "give the folder of one model",
            )


def _place(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _counts(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix in SUFFIXES and not path.stem.upper().startswith(
        ("README", "LICENSE", "NOTICE")
    )


def _named(folder: Path, name: str) -> Iterator[str]:
    """Return the files that a file names for loading beside itself."""
    file = PurePosixPath(name)
    if file.name == "adapter_config.json":
        raise HarnessError(
            f"{folder / name} makes the checkpoint an adapter to other weights",
            "merge the adapter into its model and save that",
        )
    is_index = name.endswith(_INDEX)
    if not is_index and file.name not in _NAMING:
        return
    fields = _read(folder / name)
    entries = fields.get("weight_map" if is_index else _NAMING[file.name])
    if isinstance(entries, dict):
        entries = list(entries.values())
    listed = entries if isinstance(entries, list) else [entries]
    for entry in sorted({each for each in listed if isinstance(each, str)}):
        path = PurePosixPath(entry)
        if path.is_absolute() or ".." in path.parts:
            raise HarnessError(f"{folder / name} names '{entry}', outside of its folder", _GET)
        if is_index and path.suffix != WEIGHTS:
            raise HarnessError(
                f"{folder / name} names '{entry}' as weights, which is no {WEIGHTS} file", _GET
            )
        yield (file.parent / path).as_posix()


def _check_code(file: Path) -> None:
    """Refuse code of another repository, of which the folder's digest says nothing."""
    entries = _read(file).get("auto_map")
    if isinstance(entries, dict) and (elsewhere := [e for e in entries.values() if "--" in str(e)]):
        raise HarnessError(
            f"{file} names code of another repository: {elsewhere[0]}",
            "put the code beside the checkpoint, and name it there",
        )


def _read(path: Path) -> dict[str, object]:
    """A JSON object; of a file that is none, nothing: whoever loads it says so by name."""
    try:
        if path.stat().st_size > _MAX_JSON:
            raise HarnessError(f"{path} is larger than {_MAX_JSON} bytes", _GET)
        fields = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}
