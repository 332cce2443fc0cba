"""Reading a scene of the miniature: who answers questions about it, since there is no VLM.

The bundled detector and colour classifier stand behind the interface of a vision-language model,
labelled as such wherever they answer. They know objects, counts, colours and positions, asked in
the words of the miniature's own benchmarks, and nothing else.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.geneval import rules
from benchmarks.geneval.classes import CLASSES, COLORS, NUMBERS, RELATIONS
from benchmarks.geneval.colors import ClipColorClassifier, Crop
from benchmarks.geneval.detectors.base import Detections, Detector
from benchmarks.vqa.asking import Asked, FirstToken
from harness.errors import HarnessError
from harness.records import Cost, Image, Loading

PARTS = {"detector": "bundled:detector", "colors": "bundled:colors"}
"""The checkpoints of a scene reader."""

SUREST = 0.99
"""No answer is surer than this, nor its contrary less than the rest: a reader that errs now and
then must not make a geometric mean 0."""


def plural(name: str) -> str:
    """Return the mechanical plural of a class, as GenEval 2 forms them."""
    return f"{name}es" if name.endswith(("s", "sh", "ch")) else f"{name}s"


def load_scene_reader(loading: Loading) -> SceneReader:
    """Load detector and colour classifier, which have passed their self-test."""
    from benchmarks.geneval.loading import load_scorer

    scorer = load_scorer(replace(loading, settings={}))
    return SceneReader(scorer.detector, scorer.classifier)


class SceneReader:
    """Answers questions in the words of the miniature's benchmarks from detections.

    Confidences count as probabilities of objects, independent of each other. Of a colour or a
    position the answer is yes where it holds for every object that is seen (`rules` says when a
    position holds), as probable as the least sure of them.
    """

    def __init__(self, detector: Detector, classifier: ClipColorClassifier) -> None:
        self.detector = detector
        self.classifier = classifier

    def ask(
        self, images: Sequence[Image], asked: Sequence[Sequence[Asked]]
    ) -> list[tuple[list[FirstToken], Cost]]:
        """Answer the questions of each image, in order.

        Raises:
            HarnessError: A question is none of these kinds.
        """
        results = []
        questions = [[parse(each.message) for each in own] for own in asked]
        for image, detections, parsed, messages in zip(
            images, self.detector.detect(images), questions, asked, strict=True
        ):
            named = {each.name for each in parsed if each.kind == "attribute"}
            looked = [index for name in sorted(named) for index in _objects(detections, name)]
            crops = [Crop.of(image, detections, index) for index in looked]
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
    """A question of one of the kinds that can be answered: a skill of GenEval 2's, or "number"."""

    kind: str
    name: str
    color: str = ""
    relation: str = ""
    other: str = ""
    number: str = ""


QUESTIONS = {
    "count": "How many {name} are in the image?",
    "number": "{are} there {number} {name} in the image?",
    "object": "Are there any {name} in the image?",
    "attribute": "{are} the {name} {color}?",
    "position": "{are} the {name} {relation} the {other}?",
}
"""By kind: the wording, with the fields of `Parsed`; `are` is "Is" or "Are"."""

_SINGULAR = {form: name for name in CLASSES for form in (name, plural(name))}
_NOUNS = sorted(_SINGULAR, key=len, reverse=True)
_FORMS = {"name": _NOUNS, "other": _NOUNS, "color": COLORS, "relation": RELATIONS,
          "number": NUMBERS[1:]}  # fmt: skip
_FIELDS = {field: f"(?P<{field}>{'|'.join(map(re.escape, of))})" for field, of in _FORMS.items()}
_PATTERNS = {
    kind: re.compile(text.replace("?", r"\?").format(are="(?:Is|Are)", **_FIELDS))
    for kind, text in QUESTIONS.items()
}


def parse(message: str) -> Parsed:
    """Return what a message asks.

    Raises:
        HarnessError: It is of none of the kinds that can be answered.
    """
    question = re.sub(r" Answer (?:in one word|with yes or no)\.$", "", message)
    for kind, pattern in _PATTERNS.items():
        if match := pattern.fullmatch(question):
            parts = match.groupdict()
            nouns = {key: _SINGULAR[parts[key]] for key in ("name", "other") if key in parts}
            return Parsed(kind, **(parts | nouns))
    raise HarnessError(
        f"the scene reader cannot answer {question[:80]!r}",
        "it answers the miniature's own questions; a vision-language model answers others",
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
    if question.kind == "number":
        chances = _count_chances(detections, question.name)
        return dict(enumerate(chances)).get(NUMBERS.index(question.number), 0.0)
    if question.kind == "object":
        missing = (1 - float(s) for n, s in zip(detections.labels, detections.scores, strict=True)
                   if n == question.name)  # fmt: skip
        return 1 - math.prod(missing)
    own, others = (_objects(detections, name) for name in (question.name, question.other))
    if not holds(question, own, others, colors, detections.boxes):
        return 1 - SUREST
    return min(float(detections.scores[index]) for index in (*own, *others))


def holds(
    question: Parsed,
    own: Sequence[int],
    others: Sequence[int],
    colors: Mapping[int, str | None],
    boxes: rules.Floats,
) -> bool:
    """Return whether a colour or position asked for is that of every object.

    Args:
        question: Of kind "attribute" or "position".
        own: The objects of the class asked about.
        others: Those of the other class, of a position.
        colors: By object.
        boxes: Likewise, (n, 4).
    """
    if question.kind == "attribute":
        return bool(own) and all(colors[index] == question.color for index in own)
    return bool(own and others) and all(
        question.relation in rules.relative_position(boxes[one], boxes[other])
        for one in own
        for other in others
    )
