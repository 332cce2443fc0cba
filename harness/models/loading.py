"""Weights from local safetensors into modules: quietly, completely, or not at all.

diffusers and transformers start a missing weight at random and drop a surplus one, with a log
line at most; a run would go on and measure noise. Here any difference between a checkpoint and
the class that reads it stops the load, by name.
"""

from __future__ import annotations

import inspect
import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError, first_line, shortened
from harness.models.remote_code import HINT as CODE_HINT
from harness.models.remote_code import is_trusted

if TYPE_CHECKING:
    from torch import Tensor

HINT = "the folder is damaged or holds another model; get it anew, e.g. `hf download ORG/NAME`"

_DERIVED = ("empty_weight", "relative_position_index", "position_ids")
"""Buffers that some versions of the libraries store and others compute."""


def load_strictly(
    cls: Any,
    folder: Path,
    *,
    dtype: str,
    ignore: tuple[str, ...] = (),
    ignore_fields: tuple[str, ...] = (),
) -> Any:
    """Load a model of diffusers or transformers whose weights fit its class exactly.

    Args:
        cls: Its class.
        folder: `config.json` and safetensors weights.
        dtype: Number format to load it in, by torch's name.
        ignore: Parts of the names of weights that one side has and the other does without.
        ignore_fields: Fields of a diffusers config that its class need not know.

    Returns:
        The model in evaluation mode, on the CPU.

    Raises:
        HarnessError: A weight is missing, surplus or misshapen, a diffusers config has a field that
            its class does not know, or a file is damaged.
    """
    import torch

    options: dict[str, Any] = {
        "dtype": getattr(torch, dtype),
        "ignore_mismatched_sizes": True,
        "trust_remote_code": is_trusted(),  # left open, it would be asked on the terminal
    }
    if any(base.__module__.startswith("diffusers.") for base in cls.__mro__):
        _check_fields(cls, folder, ignore_fields)
        options = {"torch_dtype": getattr(torch, dtype)}
    with quiet(), explained(folder.parent, folder.name):
        model, report = cls.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, output_loading_info=True, **options
        )
    if names := misfits(report, ignore):
        raise HarnessError(
            f"the weights in {folder} do not fit {cls.__name__}: {shortened(names)}", HINT
        )
    return model.eval()


def _check_fields(cls: Any, folder: Path, ignore: tuple[str, ...]) -> None:
    known = {*inspect.signature(cls.__init__).parameters, *ignore}
    config = read_json(folder / "config.json")
    if surplus := [name for name in config if not name.startswith("_") and name not in known]:
        raise HarnessError(
            f"{folder}/config.json has fields {cls.__name__} does not know: {', '.join(surplus)}",
            "it is another model, or needs a newer diffusers",
        )


def own_class(folder: Path, module: str, name: str) -> Any:
    """Import a class from a Python file of a checkpoint.

    Args:
        folder: Where the file lies.
        module: Its name without `.py`.
        name: Of the class.

    Raises:
        HarnessError: Nobody has asked for it, or the file is missing, or fails to import.
    """
    if not is_trusted():
        raise HarnessError(
            f"{folder} has code of its own ({module}.py), which is not run", CODE_HINT
        )
    from transformers.dynamic_module_utils import get_class_from_dynamic_module

    with explained(folder, f"{module}.py"):
        if not (module.isidentifier() and os.path.isfile(folder / f"{module}.py")):
            raise FileNotFoundError(f"there is no such file in {folder}")
        return get_class_from_dynamic_module(f"{module}.{name}", folder, local_files_only=True)


def misfits(report: Mapping[str, Any], ignore: tuple[str, ...] = ()) -> list[str]:
    """List what `from_pretrained(output_loading_info=True)` reports, less names with ignored parts.

    These are parameters without weights, weights without parameters and ill-fitting ones.
    """
    names = []
    for kind, what in (
        ("missing_keys", "missing"),
        ("unexpected_keys", "surplus"),
        ("mismatched_keys", "misshapen"),
    ):
        keys = {str(key[0] if isinstance(key, tuple) else key) for key in report.get(kind) or ()}
        matter = (key for key in keys if not any(part in key for part in (*_DERIVED, *ignore)))
        names += [f"{what} {key}" for key in sorted(matter)]
    return names


def read_weights(file: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file.

    Raises:
        HarnessError: The file is missing or damaged.
    """
    from safetensors.torch import load_file

    with explained(file.parent, file.name):
        return load_file(file)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of a checkpoint.

    Raises:
        HarnessError: The file is missing, or holds none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise HarnessError(f"{path} cannot be read: {error}", HINT) from error
    if not isinstance(content, dict):
        raise HarnessError(f"{path} is not a JSON object", HINT)
    return content


def read_config(folder: Path, expected: str) -> dict[str, Any]:
    """Read a checkpoint folder's config.json.

    Raises:
        HarnessError: As of `read_json`; of a folder without the file, with what was expected.
    """
    file = folder / "config.json"
    if not file.exists():
        what = "no such folder" if not folder.is_dir() else "no config.json in it"
        raise HarnessError(
            f"{folder} is not a checkpoint folder ({what}), expected {expected}",
            "check the path; a converted (`python -m harness convert-detector`) or downloaded "
            "folder holds config.json and model.safetensors",
        )
    return read_json(file)


@contextmanager
def explained(folder: Path, part: str) -> Iterator[None]:
    """Turn whatever a library raises over a bad file into one sentence that names the file."""
    try:
        yield
    except HarnessError:
        raise
    except Exception as error:
        if "trust_remote_code" in str(error):  # as transformers refuses it
            message = f"the {part} of {folder} has code of its own, which is not run"
            raise HarnessError(message, CODE_HINT) from error
        # The libraries raise anything from OSError to their Rust readers' own types here.
        raise HarnessError(
            f"cannot load the {part} of {folder}: {first_line(error)}", HINT
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries' loading bars and warnings off the terminal; all is checked here."""
    from transformers.utils import logging as library

    libraries = [library]
    if "diffusers" in sys.modules:
        from diffusers.utils import logging as diffusers_logging

        libraries.append(diffusers_logging)
    levels = [each.get_verbosity() for each in libraries]
    bars = library.is_progress_bar_enabled()
    for each in libraries:
        each.set_verbosity(logging.CRITICAL)
    library.disable_progress_bar()
    try:
        yield
    finally:
        for each, level in zip(libraries, levels, strict=True):
            each.set_verbosity(level)
        if bars:
            library.enable_progress_bar()
