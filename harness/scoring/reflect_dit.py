"""Reads what the official Reflect-DiT script leaves behind.

Each prompt has a folder in GenEval's layout, `00012/metadata.jsonl`, and for each image
`00012/samples/00003.png` (or jpg) a file `00003.png.feedback.json`: one JSON object, or a list
whose last entry counts. `correct` in it is the benchmark's verdict; `correct_verifier` and
`text_feedback_verifier` are the judge's, which ended the search or became feedback. A file without
them is from a setting in which the judge was the benchmark itself.

Source: `inference_scripts/eval.py` and `analysis.py` of github.com/jacklishufan/Reflect-DiT.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.records import Prompt, Score, Verdict
from harness.scoring.layout import SAMPLES, numbered_folders, numbered_images, read_prompt

_FEEDBACK = re.compile(r"(\d+)\.(?:png|jpe?g)\.feedback\.json", re.IGNORECASE)
_SUFFIX = ".feedback.json"
MAX_FILE_BYTES = 64 * 2**20
"""The largest feedback file that is read."""


class BadFeedback(HarnessError):
    """A feedback file that says nothing that can be used."""


@dataclass(frozen=True)
class Attempt:
    """One image of a prompt and what was said of it.

    Attributes:
        image: Where it is or should be.
        verdict: The judge's; None if the file is no good.
        score: The benchmark's.
        own_judge: Whether the verdict is a verifier's, not the benchmark's own.
        error: Why the file is no good, or "".
    """

    image: Path
    verdict: Verdict | None = None
    score: Score | None = None
    own_judge: bool = True
    error: str = ""


@dataclass(frozen=True)
class Chain:
    """The images of one prompt, in the order in which they were made.

    Attributes:
        prompt: The prompt; its id is the folder's name.
        attempts: By index.
    """

    prompt: Prompt
    attempts: Mapping[int, Attempt] = field(default_factory=dict)


def read_folders(root: Path) -> list[Chain]:
    """All prompts' chains, by the numbers of their folders; no image is read.

    Raises:
        UsageError: The folder has not the layout, or a prompt's metadata cannot be read.
    """
    return [
        Chain(
            read_prompt(folder),
            {index: _attempt(path, root) for index, path in _feedback_files(folder).items()},
        )
        for folder in numbered_folders(root)
    ]


def _feedback_files(folder: Path) -> dict[int, Path]:
    return numbered_images(folder, _FEEDBACK)


def _attempt(path: Path, root: Path) -> Attempt:
    image = path.with_name(path.name[: -len(_SUFFIX)])
    try:
        entry = _entry(path, root)
        correct = _flag(entry, "correct")
        judged = "correct_verifier" in entry
        accepted = _flag(entry, "correct_verifier") if judged else correct
        sentence = entry.get("text_feedback_verifier" if judged else "text_feedback")
        reason = entry.get("reason")
    except BadFeedback as error:
        where = f"{path.parents[1].name}/{SAMPLES}/{path.name}"
        return Attempt(image, error=f"{where}: {error.message}")
    return Attempt(
        image,
        Verdict(accepted, float(accepted), sentence if isinstance(sentence, str) else ""),
        Score(correct, reason if isinstance(reason, str) else ""),
        own_judge=judged,
    )


def _entry(path: Path, root: Path) -> dict[str, Any]:
    try:
        resolved = path.resolve(strict=True)
        if not resolved.is_relative_to(root.resolve()) or not resolved.is_file():
            raise BadFeedback("leads out of the folder, or is no file")
        if resolved.stat().st_size > MAX_FILE_BYTES:
            raise BadFeedback(f"larger than {MAX_FILE_BYTES} bytes")
        content = json.loads(resolved.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, RuntimeError) as error:
        raise BadFeedback(f"cannot be read as JSON ({error})") from error
    if isinstance(content, list):
        content = content[-1] if content else None
    if not isinstance(content, dict):
        raise BadFeedback("neither a JSON object nor a list that ends with one")
    return content


def _flag(entry: Mapping[str, Any], name: str) -> bool:
    """A truth value, which the script's several evaluators write as a boolean or as 0 or 1."""
    value = entry.get(name)
    if isinstance(value, bool | int | float) and value in (0, 1):
        return bool(value)
    raise BadFeedback(f"'{name}' is {json.dumps(value)[:40]}, expected true or false")
