from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from benchmarks.geneval import rules
from benchmarks.geneval.classes import COLORS, RELATIONS
from benchmarks.geneval.rules import Failure, FailureKind, Judgement

GOLDEN = Path(__file__).parents[1] / "golden" / "geneval"


def cases(name: str) -> list[dict[str, Any]]:
    with gzip.open(GOLDEN / name, "rt") as lines:
        return [json.loads(line) for line in lines]


def arrays(detections: list[dict[str, Any]]) -> tuple[list[str], rules.Floats, rules.Floats]:
    labels = [result["class_name"] for result in detections]
    scores = np.array([result["score"] for result in detections], np.float32)
    boxes = np.array([result["box"] for result in detections], np.float32).reshape(-1, 4)
    return labels, scores, boxes


@pytest.mark.parametrize(
    ("name", "count"), [("verdicts.jsonl.gz", 1500), ("verdicts_nms.jsonl.gz", 300)]
)
def test_agrees_with_the_official_evaluator(name: str, count: int) -> None:
    agreeing = 0
    for case in cases(name):
        metadata, detections = case["metadata"], case["detections"]
        labels, scores, boxes = arrays(detections)
        saved = rules.keep(
            labels, scores, boxes, tag=metadata["tag"], max_overlap=case["max_overlap"]
        )
        asked: list[int] = []

        def color_of(
            index: int,
            asked: list[int] = asked,
            detections: list[dict[str, Any]] = detections,
        ) -> str:
            asked.append(index)
            return str(detections[index]["color"])

        outcome = rules.judge(metadata, saved, boxes, color_of)
        assert {label: len(result) for label, result in saved.items()} == case["kept"]
        assert outcome.correct == case["correct"]
        assert outcome.reason == case["reason"]
        assert list(dict.fromkeys(asked)) == rules.colors_needed(metadata, saved)
        agreeing += 1
    assert agreeing == count


def test_every_kind_of_failure_occurs_in_the_golden_cases() -> None:
    kinds = set()
    for case in cases("verdicts.jsonl.gz"):
        labels, scores, boxes = arrays(case["detections"])
        saved = rules.keep(labels, scores, boxes, tag=case["metadata"]["tag"])
        colors = [result["color"] for result in case["detections"]]
        outcome = rules.judge(case["metadata"], saved, boxes, colors.__getitem__)
        kinds |= {failure.kind for failure in outcome.failures}
    assert kinds == set(FailureKind)


def test_thresholds_are_compared_in_float32() -> None:
    edge = np.float32(0.3)
    scores = np.array([edge, np.nextafter(edge, np.float32(1))], np.float32)
    assert float(edge) > 0.3  # a comparison in float64 would keep it
    assert rules.keep(["cat", "cat"], scores, np.zeros((2, 4), np.float32), tag="") == {"cat": (1,)}


def test_of_equal_scores_the_last_comes_first() -> None:
    scores = np.array([0.5, 0.9, 0.5], np.float32)
    saved = rules.keep(["cat"] * 3, scores, np.zeros((3, 4), np.float32), tag="")
    assert saved == {"cat": (1, 2, 0)}


def test_overlap_counts_the_last_row_and_column_and_drops_at_the_limit() -> None:
    scores = np.array([0.9, 0.8], np.float32)
    # 10 by 10 and 10 by 5 pixels: an overlap of exactly one half (4/9 without the last ones).
    boxes = np.array([[0, 0, 9, 9], [0, 0, 9, 4]], np.float32)
    for limit, saved in ((0.5, (0,)), (0.51, (0, 1)), (1.0, (0, 1))):
        assert rules.keep(["cat"] * 2, scores, boxes, tag="", max_overlap=limit) == {"cat": saved}


def test_a_failure_holds_what_was_wanted_and_found() -> None:
    metadata = {"include": [{"class": "cat", "count": 2, "color": "red"}]}
    outcome = rules.judge(
        metadata,
        {"cat": (3, 1, 2)},
        np.zeros((4, 4), np.float32),
        ["", "blue", "x", "red"].__getitem__,
    )
    assert outcome == Judgement(
        (Failure(FailureKind.WRONG_COLOR, "cat", 2, 1, color="red", colors=("red", "blue")),)
    )
    assert outcome.reason == "expected red cat>=2, found 1 red; and 1 red, 1 blue"


scores_ = st.floats(0, 1, width=32)
coordinates = st.floats(0, 512, width=32)
boxes_ = st.tuples(coordinates, coordinates, coordinates, coordinates).map(
    lambda c: (min(c[0], c[2]), min(c[1], c[3]), max(c[0], c[2]), max(c[1], c[3]))
)
detections_ = st.lists(
    st.fixed_dictionaries(
        {
            "class_name": st.sampled_from(["cat", "dog"]),
            "score": scores_,
            "box": boxes_,
            "color": st.sampled_from(COLORS),
        }
    ),
    max_size=24,
)
overlaps = st.sampled_from([0.3, 0.5, 1.0])
tags = st.sampled_from(["counting", "colors"])
wanted_ = st.lists(
    st.fixed_dictionaries(
        {"class": st.sampled_from(["cat", "dog"]), "count": st.integers(1, 3)},
        optional={"color": st.sampled_from(COLORS)},
    ),
    min_size=1,
    max_size=2,
)


@pytest.mark.slow
@given(detections_, tags, overlaps, st.randoms(use_true_random=False))
def test_kept_objects_do_not_hang_on_the_detectors_order(
    detections: list[dict[str, Any]], tag: str, overlap: float, random: Any
) -> None:
    # Ties are broken by position, so they are left out.
    assume(len({result["score"] for result in detections}) == len(detections))
    shuffled = random.sample(detections, len(detections))
    result = []
    for order in (detections, shuffled):
        labels, scores, boxes = arrays(order)
        saved = rules.keep(labels, scores, boxes, tag=tag, max_overlap=overlap)
        result.append({label: [order[i] for i in group] for label, group in saved.items()})
    assert result[0] == result[1]


@given(detections_, tags, overlaps)
def test_kept_objects_are_sure_few_and_best_first(
    detections: list[dict[str, Any]], tag: str, overlap: float
) -> None:
    labels, scores, boxes = arrays(detections)
    saved = rules.keep(labels, scores, boxes, tag=tag, max_overlap=overlap)
    everything = rules.keep(labels, scores, boxes, tag=tag)
    for label, group in saved.items():
        assert group and len(group) <= 16 and set(group) <= set(everything[label])
        assert all(labels[i] == label for i in group)
        assert all(scores[i] > np.float32(0.9 if tag == "counting" else 0.3) for i in group)
        assert [scores[i] for i in group] == sorted((scores[i] for i in group), reverse=True)
        assert group[0] == everything[label][0]


@given(detections_, tags, wanted_)
def test_doubtful_detections_change_nothing(
    detections: list[dict[str, Any]], tag: str, include: list[dict[str, Any]]
) -> None:
    def outcome(detections: list[dict[str, Any]]) -> Judgement:
        labels, scores, boxes = arrays(detections)
        saved = rules.keep(labels, scores, boxes, tag=tag)
        colors = [result["color"] for result in detections]
        return rules.judge({"include": include}, saved, boxes, colors.__getitem__)

    logged = [result for result in detections if result["score"] >= 0.05]
    sure = [result for result in detections if result["score"] > np.float32(0.3)]
    assert outcome(detections) == outcome(logged) == outcome(sure)


@given(detections_, wanted_)
def test_asking_for_less_never_turns_right_into_wrong(
    detections: list[dict[str, Any]], include: list[dict[str, Any]]
) -> None:
    labels, scores, boxes = arrays(detections)
    saved = rules.keep(labels, scores, boxes, tag="colors")
    colors = [result["color"] for result in detections]

    def correct(include: list[dict[str, Any]]) -> bool:
        return rules.judge({"include": include}, saved, boxes, colors.__getitem__).correct

    uncolored = [{k: v for k, v in want.items() if k != "color"} for want in include]
    fewer = [{**want, "count": max(1, want["count"] - 1)} for want in uncolored]
    if correct(include):
        assert correct(uncolored) and correct(include[:1])
    if correct(uncolored):
        assert correct(fewer)


@given(boxes_, boxes_)
def test_relations_are_mirrored_when_the_boxes_swap(a: Any, b: Any) -> None:
    opposite = dict(zip(RELATIONS, ("right of", "left of", "below", "above"), strict=True))
    there = rules.relative_position(np.array(a, np.float32), np.array(b, np.float32))
    back = rules.relative_position(np.array(b, np.float32), np.array(a, np.float32))
    assert sorted(back) == sorted(opposite[relation] for relation in there)
    assert not {"left of", "right of"} <= set(there) and not {"above", "below"} <= set(there)


@given(boxes_)
def test_a_box_has_no_relation_to_itself(box: Any) -> None:
    same = np.array(box, np.float32)
    assert rules.relative_position(same, same) == ()


def test_relations_by_example() -> None:
    target = np.array([100, 100, 120, 120], np.float32)
    positions = {"left of": (-60, 0), "right of": (60, 0), "above": (0, -60), "below": (0, 60)}
    for relation, (x, y) in positions.items():
        box = target + np.array([x, y, x, y], np.float32)
        assert rules.relative_position(box, target) == (relation,)
    diagonal = target + np.float32(60)
    assert rules.relative_position(diagonal, target) == ("right of", "below")
