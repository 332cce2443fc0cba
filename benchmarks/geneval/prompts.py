"""GenEval's prompts, regenerated from their recipe rather than shipped as a file.

The 553 published prompts are the recipe's output for seed 43 and 100 prompts a task; the hash
below is that of the published file, and is checked, so a change in numpy's random streams
cannot quietly change the benchmark. Other seeds and sizes give fresh prompts of the same
distribution, to test on prompts that nobody has tuned on.

Source: arXiv 2310.11513, section 3; `prompts/evaluation_metadata.jsonl` of
github.com/djghosh13/geneval.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.geneval.classes import (
    CLASSES,
    COLORS,
    NUMBERS,
    RELATIONS,
    plural,
    with_article,
)
from harness.errors import HarnessError

OFFICIAL_SEED = 43
OFFICIAL_SIZE = 100
OFFICIAL_SHA256 = "5c48e0813e812e3c373fa5c8ed07a8f0a483be30272b4427b0559c8048e67c13"
"""SHA-256 of the published JSONL file."""

Row = dict[str, Any]
"""One line of the metadata file: tag, include, (exclude,) prompt, in this order."""

_PERSON = CLASSES.index("person")


def metadata_rows(seed: int = OFFICIAL_SEED, size: int = OFFICIAL_SIZE) -> list[Row]:
    """Draw the metadata rows of a prompt set.

    Args:
        seed: Seed of the one random stream that all tasks share.
        size: Rows drawn for each task but the first, which always has one for every class.
            Exact repetitions are dropped, so a task may end with a few less.

    Raises:
        HarnessError: The official set does not have its published hash.
    """
    rng = np.random.default_rng(seed)
    rows = [_single(int(index)) for index in rng.choice(len(CLASSES), size=80, replace=False)]
    for draw in (_two_objects, _counting, _colors, _position, _color_attributes):
        rows.extend(draw(rng) for _ in range(size))
    rows = list(_without_repetitions(rows))
    if (seed, size) == (OFFICIAL_SEED, OFFICIAL_SIZE):
        _check_official(rows)
    return rows


def as_jsonl(rows: list[Row]) -> str:
    """Spell rows as the published file does, one JSON object a line."""
    return "".join(json.dumps(row) + "\n" for row in rows)


def _single(index: int) -> Row:
    name = CLASSES[index]
    return _row("single_object", [_object(name)], with_article(name))


def _two_objects(rng: np.random.Generator) -> Row:
    first, second = (CLASSES[i] for i in rng.choice(len(CLASSES), size=2, replace=False))
    phrase = f"{with_article(first)} and {with_article(second)}"
    return _row("two_object", [_object(first), _object(second)], phrase)


def _counting(rng: np.random.Generator) -> Row:
    name = CLASSES[int(rng.choice(len(CLASSES)))]
    count = int(rng.integers(2, 4, endpoint=True))
    return _row(
        "counting",
        [_object(name, count)],
        f"{NUMBERS[count]} {plural(name)}",
        exclude=[_object(name, count + 1)],
    )


def _colors(rng: np.random.Generator) -> Row:
    name = _not_person(int(rng.choice(len(CLASSES) - 1)))
    color = COLORS[int(rng.choice(len(COLORS)))]
    return _row("colors", [_object(name, color=color)], with_article(f"{color} {name}"))


def _position(rng: np.random.Generator) -> Row:
    name, target = (CLASSES[i] for i in rng.choice(len(CLASSES), size=2, replace=False))
    relation = RELATIONS[int(rng.choice(len(RELATIONS)))]
    # The target comes first, so that it is matched by the time the relation is looked at.
    include = [_object(target), _object(name, position=[relation, 0])]
    return _row("position", include, f"{with_article(name)} {relation} {with_article(target)}")


def _color_attributes(rng: np.random.Generator) -> Row:
    names = [_not_person(int(i)) for i in rng.choice(len(CLASSES) - 1, size=2, replace=False)]
    colors = [COLORS[i] for i in rng.choice(len(COLORS), size=2, replace=False)]
    pairs = list(zip(names, colors, strict=True))
    include = [_object(name, color=color) for name, color in pairs]
    phrase = " and ".join(with_article(f"{color} {name}") for name, color in pairs)
    return _row("color_attr", include, phrase)


def _row(tag: str, include: list[Row], phrase: str, exclude: list[Row] | None = None) -> Row:
    row: Row = {"tag": tag, "include": include}
    if exclude is not None:
        row["exclude"] = exclude
    row["prompt"] = f"a photo of {phrase}"
    return row


def _object(name: str, count: int = 1, **further: Any) -> Row:
    return {"class": name, "count": count, **further}


def _not_person(index: int) -> str:
    """Class number `index` of the 79 that come after "person", wrapping around."""
    return CLASSES[(_PERSON + 1 + index) % len(CLASSES)]


def _without_repetitions(rows: list[Row]) -> Iterator[Row]:
    seen: set[str] = set()
    for row in rows:
        spelled = json.dumps(row)
        if spelled not in seen:
            seen.add(spelled)
            yield row


def _check_official(rows: list[Row]) -> None:
    digest = hashlib.sha256(as_jsonl(rows).encode()).hexdigest()
    if digest != OFFICIAL_SHA256:
        raise HarnessError(
            f"GenEval's recipe gave prompts with sha256 {digest[:12]}…, "
            f"the published ones have {OFFICIAL_SHA256[:12]}…",
            f"numpy {np.__version__} may draw random numbers differently; install numpy 2.x",
        )
