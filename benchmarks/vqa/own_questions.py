"""Questions of one's own, as `prompt-file` takes them, and the grade that follows from answers.

Each question has a text, the answer that is expected ("yes" by default), a weight (1) and perhaps
a parent: the number of an earlier question, from 1, without which it means nothing. An answer is
worth the probability of what is expected, or 0 where a parent is not answered as expected; the
grade is the mean by weight.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.geneval.classes import NUMBERS
from benchmarks.vqa.asking import ENOUGH, Question
from harness.errors import HarnessError, did_you_mean
from harness.records import Answer
from harness.text import is_encodable, parse_json

ONE_WORD = "{question} Answer in one word."

MOST_QUESTIONS, LONGEST = 1000, 4000
"""Questions of a prompt, and characters of a question."""

_KEYS = ("text", "expected", "weight", "parent", "skill")


def parse_questions(value: Any) -> list[dict[str, Any]]:
    """Return questions in full, from a list or the JSON of one, as a table's cell has it.

    Raises:
        ValueError: They are none: what is wrong, and with which question.
    """
    if isinstance(value, str):
        value = parse_json(value)
    if not isinstance(value, list) or not 0 < len(value) <= MOST_QUESTIONS:
        raise ValueError(f"expected a list of 1 to {MOST_QUESTIONS} questions")
    questions = [_question(each, number) for number, each in enumerate(value, start=1)]
    if not sum(each["weight"] for each in questions) > 0:
        raise ValueError("no question has any weight")
    return questions


def read_questions(value: Any) -> list[Question]:
    """Return questions as a scorer asks them.

    Raises:
        ValueError: As `parse_questions`.
    """
    return [
        Question(
            each["text"],
            each["expected"],
            each["skill"],
            each["weight"],
            tuple(parent - 1 for parent in each["parent"]),
        )
        for each in parse_questions(value)
    ]


def spellings(expected: str) -> tuple[str, ...]:
    """Return how an answer may be spelt: capitals, a blank before it, a number in digits."""
    word = expected.strip()
    forms = [word]
    if word.lower() in NUMBERS:
        forms.append(str(NUMBERS.index(word.lower())))
    elif word.isdecimal() and int(word) < len(NUMBERS):
        forms.append(NUMBERS[int(word)])
    cased = [case for form in forms for case in (form, form.lower(), form.capitalize())]
    return tuple(dict.fromkeys(f"{before}{form}" for form in cased for before in ("", " ")))


def grade(answers: Sequence[Answer]) -> tuple[float, bool]:
    """Return the mean of the answers by weight, and whether all that count are right.

    Raises:
        HarnessError: An answer is logged without its probability, or none has a weight.
    """
    worth: list[float] = []
    met: list[bool] = []
    for answer in answers:
        if answer.probability is None:
            raise HarnessError("an answer is logged without its probability")
        holds = all(0 <= parent < len(met) and met[parent] for parent in answer.parents)
        worth.append(answer.probability if holds else 0.0)
        met.append(holds and answer.probability > ENOUGH)
    weight = math.fsum(answer.weight for answer in answers)
    if not weight > 0:
        raise HarnessError("no answer has any weight")
    products = [each * answer.weight for each, answer in zip(worth, answers, strict=True)]
    right = all(one for one, answer in zip(met, answers, strict=True) if answer.weight > 0)
    return math.fsum(products) / weight, right


def _question(value: Any, number: int) -> dict[str, Any]:
    if isinstance(value, str):
        value = {"text": value}
    if not isinstance(value, Mapping):
        raise ValueError(f"number {number} is neither a text nor an object")
    for key in value:
        if key not in _KEYS:
            raise ValueError(f"number {number} has no key '{key}'; {did_you_mean(key, _KEYS)}")
    # Tables write null for what a row lacks.
    value = {key: each for key, each in value.items() if each is not None}
    texts = {}
    for key, default in (("text", ""), ("expected", "yes"), ("skill", "")):
        text = value.get(key, default)
        if not isinstance(text, str) or len(text) > LONGEST or not is_encodable(text):
            raise ValueError(f"'{key}' of number {number} is no text of up to {LONGEST} characters")
        texts[key] = text.strip()
        if not texts[key] and key != "skill":
            raise ValueError(f"number {number} has nothing under '{key}'")
    weight = value.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= 1e6:
        raise ValueError(f"'weight' of number {number} is {weight!r}, expected a number from 0")
    parents = value.get("parent", [])
    parents = [parents] if isinstance(parents, int) else parents
    if not isinstance(parents, list) or not all(
        isinstance(each, int) and not isinstance(each, bool) and 0 < each < number
        for each in parents
    ):
        raise ValueError(
            f"'parent' of number {number} is {value.get('parent')!r}, expected the number of an "
            "earlier question, from 1"
        )
    return {**texts, "weight": float(weight), "parent": parents}
