"""Loading transformers models from local folders: quietly, completely, or not at all."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.errors import BadAnswer, Failure, HarnessError

_DERIVED = ("empty_weight", "relative_position_index", "position_ids")
"""Buffers that some versions of the library store and others compute."""


def require_finite(what: str, where: str, *outputs: Tensor) -> None:
    """Refuse a network's output that is not finite, before NaN passes for an answer.

    Args:
        what: The network.
        where: Its number format and device.
        outputs: What it put out.

    Raises:
        BadAnswer: NaN or an infinity is among it.
    """
    if not all(bool(output.isfinite().all()) for output in outputs):
        raise BadAnswer(
            Failure.BAD_NUMBER,
            f"the {what}'s output is not finite ({where})",
            "try dtype float32; on a GPU, check that this build of torch supports it",
        )


def load_model(
    cls: Any, folder: Path, *, device: str, dtype: str, unused: tuple[str, ...] = ()
) -> Any:
    """Load a model in evaluation mode from a local folder's safetensors.

    Args:
        cls: A transformers model class.
        folder: A checkpoint folder.
        device: A torch device.
        dtype: Number format, by torch's name.
        unused: Parts of the names of weights that the model has and never uses.

    Raises:
        HarnessError: The folder is incomplete, or its weights do not fit its config.json.
    """
    try:
        with quiet():
            model, report = cls.from_pretrained(
                folder,
                dtype=getattr(torch, dtype),
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # reported below with the names, not as a traceback
            )
    except Exception as error:
        # Anything from OSError to the Rust readers' own types comes out of a damaged folder.
        raise HarnessError(
            f"{folder} cannot be loaded as a {cls.__name__}: {first_line(error)}",
            "it should hold config.json and model.safetensors, as save_pretrained writes them",
        ) from error
    if astray := weights_astray(report, unused):
        raise HarnessError(
            f"the weights in {folder} do not fit its config.json: {some(astray)}",
            "get or convert the checkpoint again",
        )
    return model.to(device).eval().requires_grad_(False)


def weights_astray(report: Mapping[str, Any], unused: tuple[str, ...] = ()) -> list[str]:
    """Parameters without weights, weights without parameters and ill-fitting ones.

    Args:
        report: What `from_pretrained(output_loading_info=True)` says.
        unused: Parts of the names of weights that do not matter.
    """
    astray = []
    for kind, name in (
        ("missing_keys", "missing"),
        ("unexpected_keys", "unused"),
        ("mismatched_keys", "misshapen"),
    ):
        keys = {str(key[0] if isinstance(key, tuple) else key) for key in report[kind]}
        matter = (key for key in keys if not any(part in key for part in (*_DERIVED, *unused)))
        astray += [f"{name} {key}" for key in sorted(matter)]
    return astray


def first_line(error: Exception) -> str:
    """The first line of an error's text, which some libraries let run over many."""
    return str(error).strip().split("\n")[0] or type(error).__name__


def some(items: list[str], limit: int = 5) -> str:
    """The first few of a list, and how many more there are."""
    more = len(items) - limit
    return ", ".join(items[:limit]) + (f" and {more} more" if more > 0 else "")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the library's bars and reports off the terminal; callers check and say what counts."""
    from transformers.utils import logging as library

    level, bars = library.get_verbosity(), library.is_progress_bar_enabled()
    library.set_verbosity(logging.CRITICAL)
    library.disable_progress_bar()
    try:
        yield
    finally:
        library.set_verbosity(level)
        if bars:
            library.enable_progress_bar()
