"""GenEval 2's task on the miniature: own prompts in its format, answered by reading the scene.

The miniature has no vision-language model: what answers its questions is the bundled detector and
colour classifier behind the same interface, labelled as such. It knows four of GenEval 2's five
skills (objects, counts, attributes, positions; no verbs) and nothing else. Prompts carry GenEval's
requirements too, so that the miniature's judge, which has eyes of its own, can look at the images.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from benchmarks.geneval import rules
from benchmarks.geneval.classes import CLASSES, COLORS, RELATIONS
from benchmarks.geneval.colors import ColorClassifier, Crop
from benchmarks.geneval.detectors.base import Detections, Detector
from benchmarks.geneval2.benchmark import AtomBenchmark, GenEval2Options
from benchmarks.vqa.asking import Answerer, Asked, FirstToken
from benchmarks.vqa.base import Options
from harness import options as plugin_options
from harness.errors import HarnessError
from harness.records import LARGEST_SEED, Cost, Image, Loading, Prompt

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

FEWEST, MOST = 3, 7
"""Atomicities."""

SUREST = 0.99
"""No answer is surer than this, nor its contrary less than the rest: a reader that errs now and
then must not make a geometric mean 0."""


def plural(name: str) -> str:
    """Return the mechanical plural of a class, as GenEval 2 forms them."""
    return f"{name}es" if name.endswith(("s", "sh", "ch")) else f"{name}s"


@dataclass(frozen=True, slots=True)
class Group:
    """Like objects that a prompt asks for.

    Attributes:
        name: Their class.
        count: How many; 1 is asked for with an article and is no atom.
        color: Their colour, or "".
    """

    name: str
    count: int = 1
    color: str = ""

    @property
    def noun(self) -> str:
        """The class, in the plural where there are several."""
        return self.name if self.count == 1 else plural(self.name)

    @property
    def phrase(self) -> str:
        """The group as a prompt names it."""
        words = f"{self.color} {self.noun}".strip()
        if self.count > 1:
            return f"{NUMBERS[self.count]} {words}"
        return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"

    @property
    def atoms(self) -> int:
        """The atoms that it adds to a prompt's atomicity."""
        return 1 + (self.count > 1) + bool(self.color)


def row(groups: Sequence[Group], relation: str = "") -> dict[str, Any]:
    """Return a row in GenEval 2's format, with GenEval's requirements beside it.

    Args:
        groups: One or two.
        relation: Of the first to the second group, one of `RELATIONS`, or "" for "and".
    """
    questions: list[tuple[str, str, str]] = []
    for place, group in enumerate(groups):
        are, the = ("Is", group.noun) if group.count == 1 else ("Are", group.noun)
        plurals = plural(group.name)
        questions.append((f"How many {plurals} are in the image?", NUMBERS[group.count], "count"))
        if group.color:
            questions.append((f"{are} the {the} {group.color}?", "Yes", "attribute"))
        questions.append((f"Are there any {plurals} in the image?", "Yes", "object"))
        if relation and place == 0:
            other = groups[1].noun
            questions.append((f"{are} the {the} {relation} the {other}?", "Yes", "position"))
    joint = f" {relation} " if relation else " and "
    include: list[dict[str, Any]] = []
    for group in groups:
        color = {"color": group.color} if group.color else {}
        include.append({"class": group.name, "count": group.count, **color})
    if relation:
        include.reverse()
        include[1]["position"] = [relation, 0]
    return {
        "prompt": joint.join(group.phrase for group in groups),
        "atom_count": sum(group.atoms for group in groups) + bool(relation),
        "vqa_list": [[question, answer] for question, answer, _ in questions],
        "skills": [skill for _, _, skill in questions],
        "include": include,
        "exclude": [{"class": each.name, "count": each.count + 1} for each in groups],
    }


def draw_row(rng: np.random.Generator, atomicity: int) -> dict[str, Any]:
    """Draw a prompt of an atomicity from 3 to 7, at most six objects in it."""
    while True:
        names = rng.choice([name for name in CLASSES if name != "person"], 2, replace=False)
        colors = rng.choice(COLORS, 2, replace=False)
        groups = [
            Group(
                str(name),
                int(rng.integers(2, 4)) if rng.random() < 0.5 else 1,
                str(color) if rng.random() < 0.5 else "",
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
    """Prompts of atomicity 3 to 7 over the miniature's vocabulary, in GenEval 2's format.

    Attributes:
        size: Prompts of each atomicity.
        seed: Of the prompts.
    """

    Settings: ClassVar[type[Options]] = GenEval2Options

    name: ClassVar[str] = "geneval2-miniature"
    parts: ClassVar[Mapping[str, str]] = {
        "detector": "bundled:detector",
        "colors": "bundled:colors",
    }
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
        """Return the scorer's settings; nobody here can say whether an image shows its prompt.

        Raises:
            harness.errors.UsageError: A setting is unknown or its value is no good.
        """
        built = plugin_options.build(
            GenEval2Options, {"vqascore": False, **settings}, flag="-O", title=self.name
        )
        return plugin_options.resolved(built)

    def load_answerer(self, loading: Loading, settings: Mapping[str, Any]) -> Answerer:
        """Load detector and colour classifier, which have passed their self-test."""
        from dataclasses import replace

        from benchmarks.geneval.loading import load_scorer

        scorer = load_scorer(replace(loading, settings={}))
        return SceneReader(scorer.detector, scorer.classifier)


class SceneReader:
    """Answers questions in the benchmark's own words from detections.

    Confidences count as probabilities of objects, independent of each other. Of a colour or a
    position the answer is yes where it holds for every object that is seen (`rules` says when a
    position holds), as probable as the least sure of them.

    Attributes:
        detector: Finds objects.
        classifier: Names their colours.
    """

    def __init__(self, detector: Detector, classifier: ColorClassifier) -> None:
        self.detector = detector
        self.classifier = classifier

    def ask(
        self, images: Sequence[Image], asked: Sequence[Sequence[Asked]]
    ) -> list[tuple[list[FirstToken], Cost]]:
        """Answer the questions of each image, in order.

        Raises:
            HarnessError: A question is none of the benchmark's kinds.
        """
        results = []
        questions = [[parse(each.message) for each in own] for own in asked]
        for image, detections, parsed, messages in zip(
            images, self.detector.detect(images), questions, asked, strict=True
        ):
            named = {each.name for each in parsed if each.kind == "attribute"}
            looked = [index for name in sorted(named) for index in _objects(detections, name)]
            crops = [
                Crop(
                    image,
                    detections.masks[index],
                    detections.boxes[index],
                    detections.labels[index],
                )
                for index in looked
            ]
            colors = dict(zip(looked, self.classifier.classify(crops), strict=True))
            tokens = [
                _first_token(detections, colors, question, each)
                for question, each in zip(parsed, messages, strict=True)
            ]
            flops = self.detector.flops(*image.shape[:2])
            flops += len(crops) * self.classifier.flops_per_crop if crops else 0.0
            results.append((tokens, Cost(flops=flops)))
        return results


@dataclass(frozen=True, slots=True)
class Parsed:
    """A question of one of the kinds that can be answered.

    Attributes:
        kind: A skill.
        name: The class that it is about.
        color: The colour it asks about, or "".
        relation: The relation it asks about, or "".
        other: The class that the relation refers to, or "".
    """

    kind: str
    name: str
    color: str = ""
    relation: str = ""
    other: str = ""


_SINGULAR = {form: name for name in CLASSES for form in (name, plural(name))}
_NOUN = "|".join(sorted(map(re.escape, _SINGULAR), key=len, reverse=True))
_KINDS = (
    ("count", re.compile(rf"How many (?P<name>{_NOUN}) are in the image\?")),
    ("object", re.compile(rf"Are there any (?P<name>{_NOUN}) in the image\?")),
    (
        "attribute",
        re.compile(rf"(?:Is|Are) the (?P<name>{_NOUN}) (?P<color>{'|'.join(COLORS)})\?"),
    ),
    (
        "position",
        re.compile(
            rf"(?:Is|Are) the (?P<name>{_NOUN}) (?P<relation>{'|'.join(RELATIONS)}) "
            rf"the (?P<other>{_NOUN})\?"
        ),
    ),
)


def parse(message: str) -> Parsed:
    """Return what a message asks.

    Raises:
        HarnessError: It is none of the benchmark's kinds of questions.
    """
    question = message.removesuffix(" Answer in one word.")
    for kind, pattern in _KINDS:
        if match := pattern.fullmatch(question):
            parts = match.groupdict()
            nouns = {key: _SINGULAR[parts[key]] for key in ("name", "other") if key in parts}
            return Parsed(kind, **(parts | nouns))
    raise HarnessError(
        f"the scene reader cannot answer {question[:80]!r}",
        "it answers the questions of geneval2-miniature; a vision-language model answers others",
    )


def _objects(detections: Detections, name: str) -> list[int]:
    """Detections of a class that count as objects, best first."""
    confident = detections.scores > np.float32(rules.SCORE_THRESHOLD)
    return [i for i, label in enumerate(detections.labels) if label == name and confident[i]]


def _first_token(
    detections: Detections, colors: Mapping[int, str], question: Parsed, asked: Asked
) -> FirstToken:
    if question.kind == "count":
        chances = _count_chances(detections, question.name)
        number = max(range(len(chances)), key=chances.__getitem__)
        expected = [NUMBERS.index(each) for each in asked.spellings if each in NUMBERS]
        chance = sum(chances[each] for each in expected if each < len(chances))
        text = NUMBERS[number] if number < len(NUMBERS) else str(number)
        return FirstToken(text, min(max(chance, 1 - SUREST), SUREST))
    chance = min(max(_chance(detections, colors, question), 1 - SUREST), SUREST)
    return FirstToken("Yes" if chance > 0.5 else "No", chance)


def _count_chances(detections: Detections, name: str) -> list[float]:
    """The probability of each number of objects of a class."""
    chances = [1.0]
    for label, score in zip(detections.labels, detections.scores, strict=True):
        if label == name:
            confidence = float(score)
            stay, more = ([c * p for c in chances] for p in (1 - confidence, confidence))
            chances = [a + b for a, b in zip([*stay, 0.0], [0.0, *more], strict=True)]
    return chances


def _chance(detections: Detections, colors: Mapping[int, str], question: Parsed) -> float:
    """The probability of yes."""
    if question.kind == "object":
        missing = (1 - float(s) for n, s in zip(detections.labels, detections.scores, strict=True)
                   if n == question.name)  # fmt: skip
        return 1 - math.prod(missing)
    own = _objects(detections, question.name)
    confidence = min((float(detections.scores[index]) for index in own), default=0.0)
    if question.kind == "attribute":
        return (
            confidence
            if own and all(colors[index] == question.color for index in own)
            else 1 - SUREST
        )
    others = _objects(detections, question.other)
    confidence = min([confidence, *(float(detections.scores[index]) for index in others)])
    holds = bool(own and others) and all(
        question.relation in rules.relative_position(detections.boxes[one], detections.boxes[other])
        for one in own
        for other in others
    )
    return confidence if holds else 1 - SUREST
