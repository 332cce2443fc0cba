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
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.geneval.classes import CLASSES, COLORS, NUMBERS, RELATIONS, plural, with_article
from harness.errors import HarnessError
from harness.records import Prompt

OFFICIAL_SEED = 43
OFFICIAL_SIZE = 100
OFFICIAL_SHA256 = "5c48e0813e812e3c373fa5c8ed07a8f0a483be30272b4427b0559c8048e67c13"
"""SHA-256 of the published JSONL file."""

Row = dict[str, Any]
"""One line of the metadata file: tag, include, (exclude,) prompt, in this order."""

COLORED_CLASSES = tuple(name for name in CLASSES if name != "person")
"""GenEval never asks for a coloured person."""


@dataclass(frozen=True)
class Group:
    """A group of like objects that a prompt asks for."""

    name: str
    count: int = 1
    color: str | None = None


@dataclass(frozen=True)
class Request:
    """The objects that a prompt asks for, in the order in which it names things.

    Attributes:
        tag: One of ``TAGS``.
        groups: The groups of objects.
        relation: One of ``RELATIONS``: of the first group to the second; None where it is free.
    """

    tag: str
    groups: tuple[Group, ...]
    relation: str | None = None

    @property
    def text(self) -> str:
        """The prompt, as GenEval words it."""
        first = self.groups[0]
        if self.tag == "counting":
            return f"a photo of {NUMBERS[first.count]} {plural(first.name)}"
        parts = [with_article(f"{each.color or ''} {each.name}".strip()) for each in self.groups]
        joint = f" {self.relation} " if self.relation else " and "
        return f"a photo of {joint.join(parts)}"

    @property
    def include(self) -> list[dict[str, Any]]:
        """The objects as GenEval's metadata lists them: what a relation refers to comes first."""
        include: list[dict[str, Any]] = [
            {"class": each.name, "count": each.count}
            | ({"color": each.color} if each.color else {})
            for each in self.groups
        ]
        if self.relation:
            include.reverse()
            include[1]["position"] = [self.relation, 0]
        return include

    @property
    def metadata(self) -> dict[str, Any]:
        """The row that GenEval's metadata file would hold for this prompt."""
        metadata: dict[str, Any] = {"tag": self.tag, "include": self.include}
        if self.tag == "counting":
            first = self.groups[0]
            metadata["exclude"] = [{"class": first.name, "count": first.count + 1}]
        metadata["prompt"] = self.text
        return metadata

    def prompt(self, id: str) -> Prompt:
        """This as a prompt of a benchmark."""
        return Prompt(id, self.text, self.tag, self.metadata)


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
    requests = [_single(int(index)) for index in rng.choice(len(CLASSES), size=80, replace=False)]
    for draw in (_two_objects, _counting, _colors, _position, _color_attributes):
        requests.extend(draw(rng) for _ in range(size))
    rows = [request.metadata for request in dict.fromkeys(requests)]
    if (seed, size) == (OFFICIAL_SEED, OFFICIAL_SIZE):
        _check_official(rows)
    return rows


def as_jsonl(rows: list[Row]) -> str:
    """Spell rows as the published file does, one JSON object a line."""
    return "".join(json.dumps(row) + "\n" for row in rows)


def _single(index: int) -> Request:
    return Request("single_object", (Group(CLASSES[index]),))


def _two_objects(rng: np.random.Generator) -> Request:
    first, second = (CLASSES[i] for i in rng.choice(len(CLASSES), size=2, replace=False))
    return Request("two_object", (Group(first), Group(second)))


def _counting(rng: np.random.Generator) -> Request:
    name = CLASSES[int(rng.choice(len(CLASSES)))]
    return Request("counting", (Group(name, int(rng.integers(2, 4, endpoint=True))),))


def _colors(rng: np.random.Generator) -> Request:
    name = COLORED_CLASSES[int(rng.choice(len(COLORED_CLASSES)))]
    return Request("colors", (Group(name, 1, COLORS[int(rng.choice(len(COLORS)))]),))


def _position(rng: np.random.Generator) -> Request:
    name, target = (CLASSES[i] for i in rng.choice(len(CLASSES), size=2, replace=False))
    relation = RELATIONS[int(rng.choice(len(RELATIONS)))]
    return Request("position", (Group(name), Group(target)), relation)


def _color_attributes(rng: np.random.Generator) -> Request:
    names = [COLORED_CLASSES[i] for i in rng.choice(len(COLORED_CLASSES), size=2, replace=False)]
    colors = [COLORS[i] for i in rng.choice(len(COLORS), size=2, replace=False)]
    groups = (Group(name, 1, color) for name, color in zip(names, colors, strict=True))
    return Request("color_attr", tuple(groups))


def _check_official(rows: list[Row]) -> None:
    digest = hashlib.sha256(as_jsonl(rows).encode()).hexdigest()
    if digest != OFFICIAL_SHA256:
        raise HarnessError(
            f"GenEval's recipe gave prompts with sha256 {digest[:12]}…, "
            f"the published ones have {OFFICIAL_SHA256[:12]}…",
            f"numpy {np.__version__} may draw random numbers differently; install numpy 2.x",
        )
