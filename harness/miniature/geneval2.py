"""GenEval 2's task on the miniature: own prompts in its format, answered by reading the scene.

Four of GenEval 2's five skills: objects, counts, attributes, positions; no verbs. Prompts carry
GenEval's requirements too, so that the miniature's judge, which has eyes of its own, can look at
the images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from benchmarks.geneval.classes import COLORS, NUMBERS, RELATIONS, with_article
from benchmarks.geneval.prompts import COLORED_CLASSES, Group, Request
from benchmarks.geneval2.benchmark import AtomBenchmark, GenEval2Options
from benchmarks.vqa.asking import Answerer
from harness import options as plugin_options
from harness.miniature.scene_reader import PARTS, QUESTIONS, load_scene_reader, plural
from harness.records import LARGEST_SEED, Loading, Prompt

FEWEST, MOST = 3, 7
"""Atomicities."""


def row(groups: Sequence[Group], relation: str = "") -> dict[str, Any]:
    """Return a row in GenEval 2's format, with GenEval's requirements beside it.

    Args:
        groups: One or two; a single object is asked for with an article, which is no atom.
        relation: Of the first to the second group, one of `RELATIONS`, or "" for "and".
    """
    nouns = [each.name if each.count == 1 else plural(each.name) for each in groups]
    atoms: list[tuple[str, str, str]] = []
    for place, (group, noun) in enumerate(zip(groups, nouns, strict=True)):
        are, plurals = "Is" if group.count == 1 else "Are", plural(group.name)
        words = {"are": are, "color": group.color, "relation": relation, "other": nouns[-1]}
        atoms.append((QUESTIONS["count"].format(name=plurals), NUMBERS[group.count], "count"))
        if group.color:
            atoms.append((QUESTIONS["attribute"].format(name=noun, **words), "Yes", "attribute"))
        atoms.append((QUESTIONS["object"].format(name=plurals), "Yes", "object"))
        if relation and place == 0:
            atoms.append((QUESTIONS["position"].format(name=noun, **words), "Yes", "position"))
    phrases = [f"{g.color or ''} {noun}".strip() for g, noun in zip(groups, nouns, strict=True)]
    phrases = [
        with_article(phrase) if group.count == 1 else f"{NUMBERS[group.count]} {phrase}"
        for group, phrase in zip(groups, phrases, strict=True)
    ]
    return {
        "prompt": (f" {relation} " if relation else " and ").join(phrases),
        "atom_count": sum(1 + (g.count > 1) + bool(g.color) for g in groups) + bool(relation),
        "vqa_list": [[question, answer] for question, answer, _ in atoms],
        "skills": [skill for _, _, skill in atoms],
        "include": Request("", tuple(groups), relation or None).include,
        "exclude": [{"class": each.name, "count": each.count + 1} for each in groups],
    }


def draw_row(rng: np.random.Generator, atomicity: int) -> dict[str, Any]:
    """Draw a prompt of an atomicity from 3 to 7, at most six objects in it."""
    while True:
        names = rng.choice(COLORED_CLASSES, 2, replace=False)
        colors = rng.choice(COLORS, 2, replace=False)
        groups = [
            Group(
                str(name),
                int(rng.integers(2, 4)) if rng.random() < 0.5 else 1,
                str(color) if rng.random() < 0.5 else None,
            )
            for name, color in zip(names, colors, strict=True)
        ]
        if rng.random() < 0.3:
            groups = groups[:1]
        related = len(groups) == 2 and rng.random() < 0.5
        relation = str(rng.choice(RELATIONS)) if related else ""
        drawn = row(groups, relation)
        if drawn["atom_count"] == atomicity:
            return drawn


@dataclass(frozen=True)
class MiniatureGenEval2(AtomBenchmark):
    """Prompts of atomicity 3 to 7 over the miniature's vocabulary, ``size`` of each."""

    name: ClassVar[str] = "geneval2-miniature"
    parts: ClassVar[Mapping[str, str]] = PARTS
    prompt_options: ClassVar[frozenset[str]] = frozenset({"size", "seed"})
    notice: ClassVar[str] = (
        "geneval2-miniature: its questions are answered by a detector and a colour classifier that "
        "read the scene, by no vision-language model"
    )

    size: Annotated[int, Field(ge=1, le=10_000)] = 20
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)] = 0

    def prompts(self) -> list[Prompt]:
        """All prompts by atomicity; each text is there once."""
        rng = np.random.default_rng(self.seed)
        prefix = "" if (self.size, self.seed) == (20, 0) else f"s{self.seed}n{self.size}-"
        prompts: dict[str, Prompt] = {}
        for atomicity in range(FEWEST, MOST + 1):
            tag = f"atomicity-{atomicity:02d}"
            total = len(prompts) + self.size
            while len(prompts) < total:
                drawn = draw_row(rng, atomicity)
                if drawn["prompt"] not in prompts:
                    name = f"{prefix}{len(prompts):05d}"
                    prompts[drawn["prompt"]] = Prompt(name, drawn["prompt"], tag, drawn)
        return list(prompts.values())

    def scorer_settings(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the scorer's settings; nobody here can say whether an image shows its prompt."""
        built = plugin_options.build(
            GenEval2Options, {"vqascore": False, **settings}, flag="-O", title=self.name
        )
        return plugin_options.resolved(built)

    def load_answerer(self, loading: Loading, settings: Mapping[str, Any]) -> Answerer:
        """Load who reads the scene."""
        return load_scene_reader(loading)
