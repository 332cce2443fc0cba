"""DPG-Bench's arithmetic against what the official program gives for recorded answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.dpg_bench.grids import join, split
from benchmarks.dpg_bench.questions import Item, Proposition, QuestionFile, parse_questions
from benchmarks.dpg_bench.scoring import Unscorable, crop_score, totals
from harness.errors import HarnessError, UsageError
from tests.shared import SHARED, needs_shared

FOLDER = SHARED / "dpg_bench"
HEADER = (
    "item_id,text,keywords,proposition_id,dependency,category_broad,category_detailed,tuple,"
    "question_natural_language\n"
)


def read_questions(path: Path, *, skip_first: bool) -> QuestionFile:
    return parse_questions(path.read_text(), str(path), skip_first=skip_first)


def answers_of(cases: Any, items: Mapping[str, Item], crops: int) -> dict[str, list[list[str]]]:
    recorded = {case["item_id"]: case["answers"] for case in cases}
    return {
        id: [
            [recorded[id][str(each.number)][crop] for each in item.propositions]
            for crop in range(crops)
        ]
        for id, item in items.items()
    }


@needs_shared("dpg_bench")
@pytest.mark.parametrize(
    ("variant", "skip_first", "patched", "crops"),
    [
        ("official", True, False, 4),
        ("official_one_crop", True, False, 1),
        ("first_row_kept", False, False, 4),
        ("patched", False, True, 4),
    ],
)
def test_totals_are_the_official_programs(
    variant: str, skip_first: bool, patched: bool, crops: int
) -> None:
    reference = json.loads((FOLDER / "cases.json").read_text())
    items = read_questions(FOLDER / "questions.csv", skip_first=skip_first).items
    total = totals(items, answers_of(reference["cases"], items, crops), patched=patched)
    expected = reference[variant]
    assert total.score == pytest.approx(expected["score"], abs=1e-9)
    assert total.groups == pytest.approx(expected["l1"], abs=1e-9)
    assert total.categories == pytest.approx(expected["l2"], abs=1e-9)
    assert len(total.crops) == expected["n_scored"]
    assert set(total.failed) == set(expected["failed"])
    if variant in ("official", "patched"):
        for case in reference["cases"]:
            known = case[variant]
            if "failed" in known:
                assert f"proposition {known['failed']}," in total.failed[case["item_id"]]
            else:
                scores = total.crops[case["item_id"]]
                assert scores == pytest.approx(known["crops"], abs=1e-12)
                assert sum(scores) / 4 == pytest.approx(known["score"], abs=1e-12)


def graph(*parents: tuple[int, ...]) -> list[Proposition]:
    return [
        Proposition(number, f"{number}?", "entity - whole", each)
        for number, each in enumerate(parents, start=1)
    ]


def test_dependencies_are_zeroed_in_the_order_of_the_file_and_never_reach_back() -> None:
    chain = graph((0,), (1,), (2,))
    assert crop_score(chain, ["no", "yes", "yes"]) == 0.0
    backwards = graph((2,), (3,), (0,))
    assert crop_score(backwards, ["yes", "yes", "no"]) == pytest.approx(1 / 3)


def test_only_a_yes_to_the_letter_counts() -> None:
    assert [crop_score(graph((0,)), [a]) for a in ("yes", "Yes", "yes.", " yes")] == [1, 0, 0, 0]


def test_a_missing_parent_fails_only_where_it_is_looked_for() -> None:
    with pytest.raises(Unscorable, match="proposition 9"):
        crop_score(graph((0,), (1, 9)), ["yes", "yes"])
    assert crop_score(graph((0,), (1, 9)), ["no", "yes"]) == 0.0


def test_missing_items_are_named() -> None:
    items = {"a": Item("a", "", tuple(graph((0,)))), "b": Item("b", "", tuple(graph((0,))))}
    total = totals(items, {"a": [["yes"]], "c": [["yes"]]}, patched=False)
    assert (total.score, total.missing, set(total.failed)) == (100.0, ("b",), {"c"})
    assert totals(items, {}, patched=True).score is None


def write(path: Path, *rows: str) -> Path:
    path.write_text(HEADER + "".join(f"{row}\n" for row in rows), encoding="utf-8")
    return path


def test_rows_of_an_item_that_are_apart_replace_those_before(tmp_path: Path) -> None:
    rows = ["1,A,,1,0,e,w,e - w (x),X?", "2,B,,1,0,e,w,e - w (y),Y?", "1,A,,2,0,e,w,e - w (z),Z?"]
    read = read_questions(write(tmp_path / "q.csv", *rows), skip_first=False)
    assert [each.question for each in read.items["1"].propositions] == ["Z?"]
    assert read.replaced == ("1",)


def test_a_number_that_is_there_twice_keeps_its_place_and_takes_the_later_row(
    tmp_path: Path,
) -> None:
    rows = [
        "1,A,,1,0,e,w,e - w (x),X?",
        '1,A,,2,"1, 3",e,w,g - (x),Y?',
        "1,A,,1,0,e,w,global - (x),Z?",
    ]
    read = read_questions(write(tmp_path / "q.csv", *rows), skip_first=False)
    assert [(p.number, p.question, p.category) for p in read.items["1"].propositions] == [
        (1, "Z?", "global -"),
        (2, "Y?", "g -"),
    ]
    assert read.items["1"].propositions[1].parents == (1, 3)


def test_the_first_row_is_lost_only_if_asked(tmp_path: Path) -> None:
    path = write(tmp_path / "q.csv", "1,A,,1,0,e,w,e (x),X?", "1,A,,2,0,e,w,e (x),Y?")
    read = read_questions(path, skip_first=True)
    assert (len(read.items["1"].propositions), read.lost_row) == (1, ("1", 1))
    assert read_questions(path, skip_first=False).lost_row is None


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1,A,,one,0,e,w,e (x),X?", "line 2.*proposition_id 'one'"),
        ("1,A,,1,,e,w,e (x),X?", "line 2.*dependency ''"),
        ("1,A,,1,0,e,w,e (x)", "line 2.*cells"),
        ("1,A,,1,0,e,w,e (x),X?,more", "line 2.*cells"),
        ("1,A,,1,0,e,w,e (x), ", "line 2.*no question"),
        ('1,A,,1,0,e,w,e (x),"X?', "not CSV"),
    ],
)
def test_a_row_that_cannot_be_is_refused_by_line(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_questions(write(tmp_path / "q.csv", row), skip_first=False)


def test_a_file_without_its_columns_or_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no questions"):
        read_questions(write(tmp_path / "q.csv"), skip_first=True)
    (tmp_path / "p.csv").write_text("prompt\nx\n")
    with pytest.raises(UsageError, match="lacks item_id"):
        read_questions(tmp_path / "p.csv", skip_first=True)


def test_a_grid_is_joined_and_split_in_the_official_order() -> None:
    images = [np.full((3, 3, 3), value, np.uint8) for value in (1, 2, 3, 4)]
    grid = join(images)
    assert grid[0, 0, 0] == 1 and grid[0, 5, 0] == 2 and grid[5, 0, 0] == 3 and grid[5, 5, 0] == 4
    assert [image.max() for image in split(grid, 4)] == [1, 2, 3, 4]
    assert [image[0, 0, 0] for image in split(grid, 1)] == [1]


def test_a_resolution_pads_with_black_and_cuts_as_officially() -> None:
    grid = np.full((5, 5, 3), 7, np.uint8)
    parts = split(grid, 4, 4)
    assert [part.shape for part in parts] == [(4, 4, 3)] * 4
    assert [int((part > 0).sum() / 3) for part in parts] == [16, 4, 4, 1]
    assert split(grid, 1, 2)[0].shape == (2, 2, 3)


def test_what_is_no_grid_is_refused() -> None:
    with pytest.raises(HarnessError, match="6x4 is no grid"):
        split(np.zeros((4, 6, 3), np.uint8), 4)
    with pytest.raises(HarnessError, match="squares of one size"):
        join([np.zeros((4, 4, 3), np.uint8)] * 3 + [np.zeros((2, 2, 3), np.uint8)])
    with pytest.raises(HarnessError, match="expected 1 or 4"):
        join([np.zeros((4, 4, 3), np.uint8)] * 2)
