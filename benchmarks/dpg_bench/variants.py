"""The official program against the patched one, over the same answers.

The official program loses the first row of the file of questions and takes categories from the last
image of a grid. Both are done again here with the answers to all questions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from benchmarks.base import VariantScore
from benchmarks.dpg_bench.questions import Item, QuestionFile
from benchmarks.dpg_bench.scoring import Totals, totals

Answers = Mapping[str, Sequence[Sequence[str]]]


def compare(file: QuestionFile, items: Mapping[str, Item], answers: Answers) -> list[VariantScore]:
    """Compute both variants.

    Args:
        file: The questions as the official program reads them.
        items: By the name of an image file, with all propositions.
        answers: By the same, for each of its images, the answers to these in order.
    """
    patched = totals(items, answers, patched=True)
    official = totals(*_without(file.lost_row, items, answers), patched=False)
    ids = {item.id for item in items.values()}
    facts = {
        "items": len(patched.crops),
        "official_items": len(official.crops),
        "lost_rows": int(file.lost_row is not None and file.lost_row[0] in ids),
        "replaced_items": len(ids.intersection(file.replaced)),
        "lost_items": len(answers) - len(official.crops),
    }
    return [
        VariantScore(measure, *numbers, facts)
        for measure, numbers in _measures(official, patched).items()
    ]


def _without(
    lost: tuple[str, int] | None, items: Mapping[str, Item], answers: Answers
) -> tuple[Mapping[str, Item], Answers]:
    """Return items and answers without a row of questions; an item of that row alone is gone."""
    left, given = dict(items), dict(answers)
    for key, item in items.items():
        if lost is None or item.id != lost[0]:
            continue
        stays = [each.number != lost[1] for each in item.propositions]
        if not any(stays):
            del left[key], given[key]
            continue
        rows = tuple(each for each, stay in zip(item.propositions, stays, strict=True) if stay)
        left[key] = replace(item, propositions=rows)
        given[key] = [
            [answer for answer, stay in zip(image, stays, strict=True) if stay]
            for image in answers[key]
        ]
    return left, given


def _measures(official: Totals, patched: Totals) -> dict[str, tuple[float | None, float | None]]:
    """Return both variants' numbers by measure."""
    measures = {"score": (official.score, patched.score)}
    for one, two in ((official.groups, patched.groups), (official.categories, patched.categories)):
        measures |= {
            name: (one.get(name), two.get(name)) for name in sorted({*one, *two} - {*measures})
        }
    return measures
