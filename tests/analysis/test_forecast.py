from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from harness.analysis import forecast as forecasts
from harness.analysis.curves import run_curves
from harness.analysis.forecast import prompt_draws
from harness.cli import cli
from harness.errors import UsageError
from harness.statistics.best_of_n import (
    BY_SCORE,
    FIRST_ACCEPTED,
    ORACLE,
    Forecast,
    PromptDraws,
    observed,
)
from harness.statistics.mixtures import RATES, beta, binomial, fit
from tests.analysis.conftest import MakeRun

PROMPTS, DRAWS = 400, 16


def make_draws(seed: int = 0, alpha: float = 0.8, b: float = 0.7, never: float = 0.0) -> tuple[
    PromptDraws, np.ndarray
]:  # fmt: skip
    """Draws of prompts with beta distributed rates, and a judge whose scores say something."""
    rng = np.random.default_rng(seed)
    rates = rng.beta(alpha, b, PROMPTS) * (rng.random(PROMPTS) >= never)
    correct = rng.random((PROMPTS, DRAWS)) < rates[:, None]
    accepted = rng.random(correct.shape) < np.where(correct, 0.9, 0.1)
    score = rng.normal(correct * 1.5, 1.0)
    return PromptDraws(np.ones_like(correct), correct, accepted, score), rates


def test_a_beta_mixture_has_the_parameters_it_was_drawn_with() -> None:
    rng = np.random.default_rng(0)
    rates = rng.beta(2.0, 6.0, 5000)
    mixture = fit(binomial(rng.binomial(20, rates), np.full(5000, 20)), beta, (0.0, 1.0))
    mean = float(beta(mixture.parameters) @ RATES)
    assert mean == pytest.approx(0.25, abs=0.01)
    assert np.exp(mixture.parameters[1]) == pytest.approx(8.0, rel=0.1)


def test_an_oracle_is_predicted_far_beyond_the_log() -> None:
    draws, rates = make_draws()
    scores = Forecast(draws).scores([64, 512])[ORACLE]
    truth = [(1 - (1 - rates) ** n).mean() for n in (64, 512)]
    assert scores == pytest.approx(truth, abs=0.01)


def test_a_judges_mistakes_are_predicted_far_beyond_the_log() -> None:
    draws, rates = make_draws(1)
    accepting = rates * 0.9 + (1 - rates) * 0.1
    none = (1 - accepting) ** 256
    truth = (rates * 0.9 / accepting * (1 - none) + rates * 0.1 / (1 - accepting) * none).mean()
    assert Forecast(draws).scores([256])[FIRST_ACCEPTED][0] == pytest.approx(truth, abs=0.02)


def test_the_best_by_score_is_predicted() -> None:
    draws, rates = make_draws(2)
    rng = np.random.default_rng(3)
    correct = rng.random((PROMPTS, 128)) < rates[:, None]
    score = rng.normal(correct * 1.5, 1.0)
    truth = np.take_along_axis(correct, score.argmax(axis=1)[:, None], axis=1).mean()
    assert Forecast(draws).scores([128])[BY_SCORE][0] == pytest.approx(truth, abs=0.03)


def test_prompts_that_nothing_solves_hold_the_curve_down() -> None:
    draws, rates = make_draws(4, alpha=2.0, never=0.2)
    scores = Forecast(draws).scores([256])[ORACLE]
    truth = (rates > 0).mean()
    assert scores[0] == pytest.approx(truth, abs=0.03)


def test_budgets_of_the_log_are_read_from_it() -> None:
    draws, _ = make_draws(5)
    log = observed(draws, range(1, DRAWS + 1))
    scores = Forecast(draws).scores(range(1, DRAWS + 1))
    for selection, values in scores.items():
        assert values == pytest.approx(log[selection].mean(axis=0), abs=1e-12)


def test_no_selection_beats_the_oracle_and_the_oracle_only_grows() -> None:
    scores = Forecast(make_draws(6)[0]).scores([1, 4, 16, 32, 64, 1024])
    assert (np.diff(scores[ORACLE]) >= 0).all()
    for values in scores.values():
        assert (values <= scores[ORACLE] + 1e-12).all()


def test_a_failed_draw_is_no_wrong_one() -> None:
    draws, _ = make_draws(7)
    lost = np.random.default_rng(0).random(draws.known.shape) < 0.3
    partial = PromptDraws(
        ~lost, draws.correct & ~lost, draws.accepted & ~lost, np.where(lost, -np.inf, draws.score)
    )
    assert Forecast(partial).scores([64])[ORACLE] == pytest.approx(
        Forecast(draws).scores([64])[ORACLE], abs=0.02
    )


@pytest.mark.slow
def test_a_log_of_a_run_is_forecast_with_intervals(make_run: MakeRun) -> None:
    run = make_run("run", strategy="best-of-n", budget=8)
    table = forecasts.forecast_table(prompt_draws(run), [1, 8, 32])
    own = table[table["selection"] == BY_SCORE].set_index("budget")
    assert own["score"][8] == pytest.approx(run.scores().mean(), abs=0.02)  # ties share the choice
    assert ((table["low"] <= table["score"]) & (table["score"] <= table["high"])).all()
    assert list(own["logged"]) == [True, True, False]


def test_draws_that_depend_on_each_other_are_refused(make_run: MakeRun) -> None:
    with pytest.raises(UsageError, match="several rounds"):
        prompt_draws(make_run("run", strategy="reflect", budget=8))


def test_too_few_draws_are_refused(make_run: MakeRun) -> None:
    with pytest.raises(UsageError, match="fewer than 4"):
        prompt_draws(make_run("run", strategy="best-of-n", budget=2))


@pytest.mark.slow
def test_the_command_prints_a_table_and_its_own_test(make_run: MakeRun, tmp_path: Path) -> None:
    make_run("run", strategy="best-of-n", budget=8)
    runner = CliRunner()
    asked = ["forecast", str(tmp_path / "run"), "--budget", "100", "--price", "3"]
    shown = runner.invoke(cli, asked)
    assert shown.exit_code == 0, shown.output
    assert "price a prompt" in shown.output
    assert "beyond what was tested" in shown.output and "within its tested reach" in shown.output
    assert "correlation" in shown.output
    printed = runner.invoke(cli, ["forecast", str(tmp_path / "run"), "--json", "--budget", "100"])
    (result,) = json.loads(printed.output).values()
    assert {row["budget"] for row in result["forecast"]} == {1, 8, 16, 32, 64, 100}


@pytest.mark.slow
def test_a_report_continues_what_takes_the_best_of_independent_draws(make_run: MakeRun) -> None:
    runs = [make_run("n", budget=8), make_run("r", strategy="reflect", budget=8)]
    curves = [run_curves(run) for run in runs]
    table = forecasts.continuations(curves, ["n", "r"])
    assert set(table["run"]) == {"n"} and table["budget"].tolist() == [8, 16, 32, 64]
    draws = prompt_draws(runs[0])
    whole = forecasts.forecast_table(draws, [8, 16, 32, 64]).query("selection == @BY_SCORE")
    for column in ("score", "low", "high"):
        assert table[column].tolist() == pytest.approx(whole[column].tolist())
    assert table["score"].iloc[0] == pytest.approx(curves[0].own.scores[:, -1].mean())
    nfe = curves[0].own.costs["nfe"][0, -1]
    assert table["nfe"].tolist() == pytest.approx([nfe, 2 * nfe, 4 * nfe, 8 * nfe])
    assert table["tested"].tolist() == [True, True, True, False]
