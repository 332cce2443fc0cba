"""GenEval 2's arithmetic against numbers that the official code printed."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from benchmarks.geneval2.scoring import YES, geometric_mean, spellings
from tests.reference.geneval2 import Graded, arithmetic_mean, is_match, totals
from tests.shared import SHARED, needs_shared

FOLDER = SHARED / "geneval2"


def read(name: str) -> Any:
    return json.loads((FOLDER / name).read_text())


@needs_shared("geneval2")
def test_scores_of_prompts_and_their_totals_are_the_official_ones() -> None:
    reference = read("score_cases.json")
    graded = []
    for case in reference["cases"]:
        assert arithmetic_mean(case["scores"]) == pytest.approx(case["am"], rel=1e-12, abs=1e-300)
        assert geometric_mean(case["scores"]) == pytest.approx(case["gm"], rel=1e-9, abs=1e-300)
        graded.append(Graded(case["atom_count"], tuple(case["skills"]), tuple(case["scores"])))
    total = totals(graded)
    assert total.am == pytest.approx(reference["totals"]["soft_tifa_am"], abs=1e-9)
    assert total.gm == pytest.approx(reference["totals"]["soft_tifa_gm"], abs=1e-9)
    assert total.skills == pytest.approx(reference["per_skill"], abs=1e-9)
    atomicities = {str(count): score for count, score in total.atomicities.items()}
    assert atomicities == pytest.approx(reference["per_atomicity"], abs=1e-9)


@needs_shared("geneval2")
def test_totals_of_answers_to_made_up_prompts_are_the_official_ones() -> None:
    reference = read("own_cases.json")
    cases = reference["cases"]
    for case in cases:
        hard = [
            float(is_match(prediction, spellings(question, answer)))
            for prediction, (question, answer) in zip(
                case["predictions"], case["vqa_list"], strict=True
            )
        ]
        assert hard == case["tifa"]
        assert arithmetic_mean(hard) == pytest.approx(case["tifa_score"], abs=1e-12)
    total = totals(
        [
            Graded(case["atom_count"], tuple(case["skills"]), tuple(case["soft_tifa"]))
            for case in cases
        ]
    )
    assert total.am == pytest.approx(reference["totals"]["soft_tifa_am"], abs=1e-9)
    assert total.gm == pytest.approx(reference["totals"]["soft_tifa_gm"], abs=1e-9)


def test_a_skill_or_atomicity_that_is_absent_is_left_out() -> None:
    total = totals([Graded(3, ("count", "count"), (0.25, 1.0))])
    assert total.skills == {"count": 62.5}
    assert total.atomicities == {3: pytest.approx(50.0)}


def test_a_zero_makes_the_geometric_mean_zero_and_the_smallest_number_does_not() -> None:
    assert geometric_mean([0.0, 1.0]) == 0.0
    assert geometric_mean([0, 1]) == 0.0
    assert geometric_mean([5e-324, 5e-324]) == pytest.approx(5e-324)
    assert geometric_mean([1.5, 1.5]) == pytest.approx(1.5)


def test_no_atom_and_no_prompt_have_no_score() -> None:
    for mean in (arithmetic_mean, geometric_mean):
        with pytest.raises(ValueError, match="without atoms"):
            mean([])
    with pytest.raises(ValueError, match="no prompt"):
        totals([])
    with pytest.raises(ValueError, match="2 scores for 1 atoms"):
        Graded(3, ("count",), (0.5, 0.5))


def test_spellings_are_those_of_the_official_script() -> None:
    assert spellings("Is the cow red?", "Yes") == YES
    assert spellings("Is the cow red?", "No") == YES  # as officially
    assert spellings("How many cows are in the image?", "three") == (
        "three", "Three", " three", " Three", "3", " 3",
    )  # fmt: skip
    assert spellings("How many cows?", "eleven")[4:] == ("other", " other")


def test_a_prediction_matches_in_lower_case_and_unstripped() -> None:
    three = spellings("How many cows?", "three")
    assert is_match("THREE", three) and is_match(" Three", three) and is_match("3", three)
    assert not is_match("three ", three) and not is_match("", three)
    assert not math.isnan(arithmetic_mean([0.0]))
