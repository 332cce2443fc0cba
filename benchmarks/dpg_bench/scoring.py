"""DPG-Bench's arithmetic: from a model's answers to the scores of images, items and categories.

Source: `compute_dpg_one_sample` and `main` of `dpg_bench/compute_dpg_bench.py` in
github.com/TencentQQGYLab/ELLA at 3c228f1 (Hu et al., arXiv 2403.05135). Official behaviour with its
faults; what `patched` means is an argument wherever it makes a difference.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from benchmarks.base import VariantScore
from benchmarks.dpg_bench.questions import NO_PARENT, Item, Proposition, QuestionFile

YES = "yes"

Answers = Mapping[str, Sequence[Sequence[str]]]
"""By id of an item, for each of its images, the answers to its propositions in order."""


class Unscorable(Exception):
    """An item has no score, since a proposition depends on one that is not there."""

    def __init__(self, number: int) -> None:
        super().__init__(f"a question depends on proposition {number}, which the item lacks")


def is_yes(answer: str) -> bool:
    """Return whether an answer counts: it is `yes` to the letter, neither `Yes` nor `yes.`."""
    return answer == YES


def crop_score(propositions: Sequence[Proposition], answers: Sequence[str]) -> float:
    """Score one image: the mean over its questions after one pass over the dependencies.

    The pass goes through the questions in the order of the file and changes scores in place: what
    it has set to 0 counts as 0 for the questions after, and never reaches back.

    Raises:
        Unscorable: A parent was looked for that is not there. Parents behind one that is answered
            with no are not looked for.
        ValueError: There are not as many answers as propositions, or none.
    """
    if not propositions:
        raise ValueError("an item without questions has no score")
    scores = {
        each.number: float(is_yes(answer))
        for each, answer in zip(propositions, answers, strict=True)
    }
    for each in propositions:
        for parent in each.parents:
            if parent == NO_PARENT:
                continue
            if parent not in scores:
                raise Unscorable(parent)
            if scores[parent] == 0:
                scores[each.number] = 0.0
                break
    return sum(scores.values()) / len(scores)


@dataclass(frozen=True)
class Totals:
    """Scores over items, times 100 as they are published.

    Attributes:
        score: Mean over items of the mean over an item's images.
        groups: Per L1 category, of raw answers, over questions.
        categories: Per L2 category, likewise.
        crops: Score of each image of each item that has one, between 0 and 1.
        failed: Why items with answers have no score, by id. They are in no mean.
        missing: Items without any answer. The official program does not notice them.
    """

    score: float | None
    groups: Mapping[str, float]
    categories: Mapping[str, float]
    crops: Mapping[str, tuple[float, ...]]
    failed: Mapping[str, str]
    missing: tuple[str, ...]

    def lines(self) -> list[str]:
        """Return the official program's summary, and how many items it is over."""
        lines = ["L1 category scores:"]
        lines += [f"\t{name}: {score}" for name, score in self.groups.items()]
        lines.append("L2 category scores:")
        lines += [f"\t{name}: {score}" for name, score in self.categories.items()]
        lines.append(f"DPG-Bench score: {'none' if self.score is None else self.score}")
        known = len(self.crops)
        left_out = len(self.failed) + len(self.missing)
        lines.append(f"Scored: {known} of {known + left_out}")
        return lines


def totals(items: Mapping[str, Item], answers: Answers, *, patched: bool) -> Totals:
    """Sum up items.

    Args:
        items: By id.
        answers: To their propositions.
        patched: Take category scores of the answers about all images, not of the last only.
    """
    crops: dict[str, tuple[float, ...]] = {}
    failed: dict[str, str] = {}
    raw: defaultdict[str, list[bool]] = defaultdict(list)
    for id, images in answers.items():
        if id not in items:
            failed[id] = "no question is about it"
            continue
        propositions = items[id].propositions
        try:
            crops[id] = tuple(crop_score(propositions, image) for image in images)
        except Unscorable as error:
            failed[id] = str(error)
            continue
        for image in images if patched else images[-1:]:
            for each, answer in zip(propositions, image, strict=True):
                raw[each.category].append(is_yes(answer))
    groups: defaultdict[str, list[bool]] = defaultdict(list)
    for category, scores in raw.items():
        groups[category.split("-")[0].strip()] += scores
    means = [_mean(scores) for scores in crops.values()]
    return Totals(
        score=100 * _mean(means) if means else None,
        groups={name: 100 * _mean(scores) for name, scores in sorted(groups.items())},
        categories={name: 100 * _mean(scores) for name, scores in sorted(raw.items())},
        crops=crops,
        failed=failed,
        missing=tuple(id for id in items if not answers.get(id)),
    )


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return sum(numbers) / len(numbers)


def compare(file: QuestionFile, items: Mapping[str, Item], answers: Answers) -> list[VariantScore]:
    """Compute the official program and the patched one, over the same answers to all questions.

    The official one loses the first row of the file, and takes categories from a grid's last image.

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
