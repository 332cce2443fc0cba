"""Reads what the official Reflect-DiT script leaves behind, whichever benchmark it ran.

Each prompt has a folder in GenEval's layout, `00012/metadata.jsonl`, and for each image
`00012/samples/00003.png` (or jpg) a file `00003.png.feedback.json`: one JSON object, or a list
whose last entry counts. `correct_verifier` and `text_feedback_verifier` in it are the judge's,
which ended the search or became feedback; `correct` is the benchmark's:

- GenEval's prompts: right or wrong, as a boolean or as 0 and 1;
- DPG-Bench's prompts (no tag, the questions under `vqa_data`): a share between 0 and 1;
- prompts of one's own, from a CSV file (whose empty cells are NaN in the metadata): always 1, a
  dummy's, which is no score.

A file without the judge's fields is from a setting in which the judge was the benchmark itself.

Source: `inference_scripts/eval.py` and `analysis.py`, `train_scripts/dpg_util.py` and
`geneval_utils.py` of github.com/jacklishufan/Reflect-DiT.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.geneval import metadata
from harness.errors import HarnessError, UsageError
from harness.interop.layout import (
    SAMPLES,
    group,
    has_text,
    hub_store,
    numbered_files,
    numbered_folders,
    read_prompt,
    read_row,
)
from harness.records import Prompt, Score, Verdict
from harness.text import parse_json, read_text

_FEEDBACK = re.compile(r"(\d+)\.(?:png|jpe?g)\.feedback\.json", re.IGNORECASE)
_SUFFIX = ".feedback.json"
_SURROGATES = re.compile("[\ud800-\udfff]")
MAX_FILE_BYTES = 64 * 2**20
"""The largest feedback file that is read."""
MAX_DRAWS = 4096
"""The most images of a search; a file of a higher number is not one of the script's."""


class BadFeedback(HarnessError):
    """A feedback file that says nothing that can be used."""


@dataclass(frozen=True)
class Attempt:
    """One image of a prompt and what was said of it.

    Attributes:
        image: Where it is or should be.
        verdict: The judge's; None if the file is no good.
        score: The benchmark's; None if it is no right or wrong.
        share: The benchmark's, where it is a share between 0 and 1.
        own_judge: Whether the verdict is a verifier's, not the benchmark's own.
        error: Why the file is no good, or "".
        unscored: Why the file has no score although its verdict is good, or "".
    """

    image: Path
    verdict: Verdict | None = None
    score: Score | None = None
    share: float | None = None
    own_judge: bool = True
    error: str = ""
    unscored: str = ""


@dataclass(frozen=True)
class Chain:
    """The images of one search, in the order in which they were made.

    Attributes:
        replicate: Which search of the prompt it is: folders of equal metadata are one prompt.
        refusal: Why its metadata is no good, so that it has no scores, or "".
        problems: Files that were passed over.
    """

    folder: str
    prompt: Prompt
    replicate: int = 0
    attempts: Mapping[int, Attempt] = field(default_factory=dict)
    refusal: str = ""
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Output:
    """The files that the script has left behind.

    Attributes:
        chains: Its searches, by the numbers of their folders.
    """

    chains: tuple[Chain, ...]
    geneval: bool


def read_output(root: Path) -> Output:
    """Read all prompts and what was said of their images; no image is read.

    The prompts are GenEval's if any of them is. One whose metadata is no good is refused by name
    then: its verdicts are there and its scores are not.

    Raises:
        UsageError: The folder has not the layout.
        HarnessError: The metadata of every prompt is no good.
    """
    paths = numbered_folders(root)
    geneval = _is_geneval(paths)
    validate = metadata.validated if geneval else has_text
    chains = []
    for path in paths:
        prompt, refusal = read_prompt(path, validate, nan_is_null=not geneval)
        attempts, problems = _attempts(path, root)
        chains.append(Chain(path.name, prompt, 0, attempts, refusal, problems))
    refusals = [chain.refusal for chain in chains if chain.refusal]
    if len(refusals) == len(chains):
        raise HarnessError(
            f"nothing can be imported: no prompt's metadata is good, such as {refusals[0]}",
            "give the folder that holds 00000/metadata.jsonl",
        )
    prompts = group([(chain.prompt, chain.refusal) for chain in chains])
    count: Counter[str] = Counter()
    grouped = []
    for chain, prompt in zip(chains, prompts, strict=True):
        grouped.append(replace(chain, prompt=prompt, replicate=count[prompt.id]))
        count[prompt.id] += 1
    return Output(tuple(grouped), geneval)


def _is_geneval(paths: Iterable[Path]) -> bool:
    """Return whether the script ran over GenEval's prompts: one row that asks for objects."""
    for path in paths:
        try:
            row, _ = read_row(path, nan_is_null=True)
        except UsageError:
            continue
        if isinstance(row, dict) and row.get("include") is not None:
            return True
    return False


def _attempts(folder: Path, root: Path) -> tuple[dict[int, Attempt], tuple[str, ...]]:
    files, _ = numbered_files(folder, _FEEDBACK)
    attempts: dict[int, Attempt] = {}
    problems = []
    # Of several with one number a PNG's comes first, as the published analysis reads no other.
    for number, path in sorted(files, key=lambda file: ".png." not in file[1].name.lower()):
        where = f"{folder.name}/{SAMPLES}/{path.name}"
        if number >= MAX_DRAWS:
            problems.append(f"{where}: passed over, no search has {number + 1} images")
        elif number in attempts:
            problems.append(f"{where}: passed over, another file has the same number")
        else:
            attempts[number] = _attempt(path, where, root)
    return attempts, tuple(problems)


def _attempt(path: Path, where: str, root: Path) -> Attempt:
    image = path.with_name(path.name[: -len(_SUFFIX)])
    try:
        entry = _entry(path, root)
        judged = "correct_verifier" in entry
        accepted = _flag(entry, "correct_verifier" if judged else "correct")
    except BadFeedback as error:
        return Attempt(image, error=f"{where}: {error.message}")
    sentence = entry.get("text_feedback_verifier" if judged else "text_feedback")
    verdict = Verdict(accepted, float(accepted), _text(sentence))
    share = entry.get("correct")
    if isinstance(share, float) and 0 < share < 1:
        why = f"{where}: 'correct' is {share:g}, neither right nor wrong"
        return Attempt(image, verdict, share=share, own_judge=judged, unscored=why)
    try:
        score = Score.of(_flag(entry, "correct"), _text(entry.get("reason")))
    except BadFeedback as error:
        return Attempt(image, verdict, own_judge=judged, unscored=f"{where}: {error.message}")
    return Attempt(image, verdict, score, own_judge=judged)


def _text(value: Any) -> str:
    """Return a text that can be kept; what is none is "", as a field that is not there."""
    return _SURROGATES.sub("\ufffd", value) if isinstance(value, str) else ""


def _entry(path: Path, root: Path) -> dict[str, Any]:
    try:
        resolved = path.resolve(strict=True)
        if not resolved.is_relative_to(hub_store(root)):
            raise BadFeedback("leads out of the folder")
        content = parse_json(read_text(resolved, limit=MAX_FILE_BYTES), nan_is_null=True)
    except UsageError as error:
        raise BadFeedback(error.message) from error
    except (OSError, ValueError, RuntimeError) as error:
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
