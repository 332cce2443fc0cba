"""Gains by measures that did not steer a search, against the gain by the one that did."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.analysis.logged_run import LoggedRun
from harness.analysis.transfer import JUDGE, SCORER, transfer_table
from tests.analysis.conftest import MakeRun


def selecting(found: LoggedRun, **metrics: np.ndarray) -> LoggedRun:
    """The run as if it had selected the draw of the highest judge's score."""
    searches = found.searches.assign(selected=found.judge_score.argmax(axis=1))
    return replace(found, searches=searches, metrics=metrics)


def test_a_measure_that_follows_the_judge_transfers_and_a_blind_one_does_not(
    make_run: MakeRun,
) -> None:
    found = make_run("r", budget=6)
    follows = 100 * found.judge_score - 7  # another scale, and the same order
    constant = np.full(found.index.shape, 3.0)
    opposite = -found.judge_score
    run = selecting(found, follows=follows, constant=constant, opposite=opposite)
    table = transfer_table([run], ["r"]).set_index("measure")
    assert list(table.index) == [JUDGE, SCORER, "follows", "constant", "opposite"]
    gain = (found.judge_score.max(axis=1) - found.judge_score.mean(axis=1)).mean()
    assert table.loc[JUDGE, "gain"] == pytest.approx(gain)
    assert table.loc["follows", "gain"] == pytest.approx(100 * gain)
    for name, transfer in (("follows", 1.0), ("opposite", -1.0)):
        row = table.loc[name, ["transfer", "least", "most"]].tolist()
        assert row == pytest.approx([transfer] * 3, rel=1e-4)
    assert table.loc["constant", "gain"] == 0
    assert table.loc["constant", ["transfer"]].isna().all()
    assert table.loc[JUDGE, ["transfer", "least", "most"]].isna().all()
    chosen = run.searches["selected"].to_numpy()
    scorer = found.value[np.arange(len(chosen)), chosen] - found.value.mean(axis=1)
    assert table.loc[SCORER, "gain"] == pytest.approx(scorer.mean())


def test_without_a_gain_by_the_judge_there_is_no_transfer(make_run: MakeRun) -> None:
    found = make_run("r", budget=6)
    metric = found.judge_score.copy()
    first = replace(selecting(found, own=metric), searches=found.searches.assign(selected=0))
    flat = replace(first, judge_score=np.zeros(found.index.shape))
    table = transfer_table([flat], ["r"]).set_index("measure")
    assert table.loc[JUDGE, "gain"] == 0 and table["transfer"].isna().all()


def test_runs_without_metrics_have_no_rows(make_run: MakeRun) -> None:
    assert transfer_table([make_run("r", budget=4)], ["r"]).empty
