"""Tables of what a score is made of: each cell says what its row holds, unknown stays unknown."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from harness.analysis.evidence import DPG
from harness.analysis.judging import AGREEMENT, PEAKS
from harness.report import measures

NAN = float("nan")


def cells(make: Any, columns: Any, *rows: tuple[Any, ...]) -> list[dict[str, Any]]:
    table = make(pd.DataFrame(rows, columns=list(columns)), ["a note"])
    assert table.notes[-1] == "a note"
    result: list[dict[str, Any]] = table.shown.to_dict("records")
    return result


def test_a_judge_against_the_scorer() -> None:
    everything, tag = cells(
        measures.agreement, AGREEMENT,
        ("r", "", 8, 2, 1, 9, 0.85, 0.7, 0.95, "BCa bootstrap", 0.91, 10),
        ("r", "colors", 3, 0, 0, 0, 1.0, NAN, NAN, "", NAN, 2),
    )  # fmt: skip
    assert everything["draws of"] == "all prompts" and tag["draws of"] == "colors"
    assert everything["agreement"] == "0.850 [0.700, 0.950]"
    assert everything["wrong ones accepted"] == "1 of 10"
    assert everything["right ones rejected"] == "2 of 10"
    assert everything["area under ROC"] == "0.910" and tag["area under ROC"] == "–"


@pytest.mark.parametrize(("falls", "word"), [(True, "yes"), (False, "")])
def test_a_peak_and_what_follows_it(falls: bool, word: str) -> None:
    (row,) = cells(
        measures.peaks, PEAKS,
        ("r", "clip-score", 4, 0.31, 20, 0.29, -0.02, -0.03, -0.01, "BCa bootstrap", falls, 50),
    )  # fmt: skip
    assert row["highest"] == "0.31 at 4" and row["last"] == "0.29 at 20"
    assert row["last minus highest"] == "−0.020 [−0.030, −0.010]"
    assert row["over-optimised"] == word


def test_both_programs_of_dpg_bench() -> None:
    score, lost = cells(
        measures.dpg, DPG,
        ("r", "score", 80.0, 82.5, 2.5, 10, 9, 1, 0, 1),
        ("r", "entity", None, 50.0, None, 4, 0, 1, 0, 4),
    )  # fmt: skip
    assert (score["official"], score["patched"], score["difference"]) == (
        "80.000", "82.500", "2.500",
    )  # fmt: skip
    assert score["files"] == "9 of 10" and score["items lost"] == 1
    assert (lost["official"], lost["difference"]) == ("–", "–")
