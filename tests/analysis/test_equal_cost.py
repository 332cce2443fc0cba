"""The difference of two runs at the end of the cheaper one."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from harness.analysis.comparison import MATCHED, by_pair, equal_cost

NAN = float("nan")
BEYOND = "beyond the log of dear, which ends at 2 (0.5)"


def table(*rows: dict[str, object]) -> pd.DataFrame:
    empty = {"difference": NAN, "low": NAN, "high": NAN, "note": "", "cost_axis": "nfe"}
    return pd.DataFrame([empty | row for row in rows], columns=MATCHED)


@pytest.mark.parametrize(("run", "sign"), [("dear", -1), ("cheap", 1)])
def test_it_is_read_where_both_curves_are_known(run: str, sign: int) -> None:
    other = {"dear": "cheap", "cheap": "dear"}[run]
    matched = table(
        {"run": "cheap", "other": "dear", "difference": 0.2, "low": 0.1, "high": 0.4},
        {"run": "dear", "other": "cheap", "note": BEYOND},
        {"run": "cheap", "other": "dear", "difference": 0.9, "cost_axis": "draws"},
        {"run": "dear", "other": "cheap", "difference": -0.9, "cost_axis": "draws"},
    )
    row = equal_cost(by_pair(matched), run, other, "nfe")
    assert row["difference"] == sign * 0.2 and row["end"] == "cheap" and row["note"] == ""
    assert (row["low"], row["high"]) == ((0.1, 0.4) if sign > 0 else (-0.4, -0.1))


def test_what_neither_knows_stays_unknown() -> None:
    matched = table(
        {"run": "a", "other": "b", "note": BEYOND}, {"run": "b", "other": "a", "note": "?"}
    )
    row = equal_cost(by_pair(matched), "a", "b", "nfe")
    assert math.isnan(row["difference"]) and row["note"] == BEYOND
