"""Runs against published scores: inside or outside, and what differs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from harness.analysis.published import load_published, published_points
from harness.analysis.tables import runs_table
from harness.audit.audited_run import AuditedRun, Options
from harness.audit.checks import published
from harness.audit.result import CannotCheck, Result, Status
from harness.cli.audit import audit
from harness.errors import UsageError
from harness.log.run_folder import RunFolder
from harness.runs.loading import load_run
from harness.seeds import config_digest
from tests.audit.forging import Forger
from tests.made_up import official


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up run of four draws a prompt, by its manifest measured as the published ones."""
    path = official(tmp_path_factory.mktemp("official") / "run")
    judge = {"kind": "vlm", "checkpoints": {}}

    def change(fields: dict[str, Any]) -> None:
        fields["config"]["judge"] |= judge
        fields["config"]["strategy"] = {
            "name": "best-of-n",
            "options": {"select": "first-accepted"},
        }
        fields["config"]["oracle"] = False
        fields["config_digest"] = config_digest(fields["config"])

    Forger(path).manifest(change)
    return path


def check(path: Path, words: str | None = None) -> Result:
    return published.check(AuditedRun(RunFolder(path), Options(published=words)))


def printed_as(monkeypatch: pytest.MonkeyPatch, score: float) -> None:
    """Another printed score for best-of-4."""
    frame = load_published()
    rows = (frame["method"] == "best-of-N") & (frame["n"] == 4)
    frame.loc[rows, "overall_reported"] = score
    monkeypatch.setattr(published, "load_published", lambda: frame)


def micro(path: Path) -> dict[str, float]:
    table = runs_table([load_run(path)], ["run"])
    result: dict[str, float] = table[table["kind"] == "micro"].iloc[0].to_dict()
    return result


def test_inside(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = micro(run)
    printed_as(monkeypatch, own["high"])
    for words in (None, "best-of-n 4"):
        result = check(run, words)
        assert result.outcome is Status.PASS, result.evidence
        assert "is inside this run's micro" in result.evidence[0]
        assert "images a prompt (here 1)" in result.evidence[-1]


def test_outside_is_a_failure_only_where_it_was_asked(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed_as(monkeypatch, micro(run)["high"] + 0.001)
    result = check(run)
    assert result.outcome is Status.NOT_APPLICABLE and "is outside" in result.evidence[0]
    asked = check(run, "best-of-N 4 SANA-1.0-1.6B")
    assert asked.failed and "is outside" in asked.evidence[0]


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("reflect-dit 20", {"method", "budget"}),
        ("top-4-of-N diffusion", {"method", "budget", "judge", "generator", "mean"}),
    ],
)
def test_what_differs_is_told(run: Path, words: str, parts: set[str]) -> None:
    result = check(run, words)
    assert result.outcome is Status.NOT_APPLICABLE
    (line, *_) = (line for line in result.evidence if " differs in " in line)
    message = {part.split(" (")[0] for part in line.split(" differs in ")[1].split("); ")}
    assert message == parts, line


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda c: c.update(oracle=True), "judge"),
        (lambda c: c["judge"].update(kind="detector"), "judge"),
        (lambda c: c["generator"]["settings"].update(height=512), "resolution"),
        (lambda c: c["scorer"]["checkpoints"].update(detector="another"), "detector"),
        (lambda c: c.update(miniature=True), "models"),
    ],
)
def test_a_protocol_that_differs_cannot_fail(
    change: Any, part: str, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed_as(monkeypatch, 0.999)
    loaded = load_run(run)
    change(loaded.manifest.config)
    monkeypatch.setattr(published, "load_run", lambda path: loaded)
    result = check(run, "best-of-N 4")
    assert result.outcome is Status.NOT_APPLICABLE
    assert any(f" differs in {part} (" in line for line in result.evidence), result.evidence


@pytest.mark.slow
def test_other_prompts_are_known_by_what_they_ask_for(tmp_path: Path) -> None:
    part = official(tmp_path / "part", without=range(100, 109))
    (line, *_) = (line for line in check(part, "best-of-N 4").evidence if " differs in " in line)
    assert "prompt set (544 of GenEval's 553 prompts, without 00100 'a photo of " in line

    def rename(fields: dict[str, Any]) -> None:
        fields["config"]["benchmark"]["options"] = {}
        fields["config_digest"] = config_digest(fields["config"])

    whole = official(tmp_path / "whole")
    Forger(whole).manifest(rename)
    assert not any("prompt set" in line for line in check(whole, "best-of-N 4").evidence)


def strategy(name: str, budget: int, **options: Any) -> Any:
    return lambda c: c.update(strategy={"name": name, "options": options}, budget=budget)


@pytest.mark.parametrize(
    ("change", "method", "differs"),
    [
        (strategy("reflect", 20), "Reflect-DiT", ""),
        # Written before there were the other options.
        (strategy("reflect", 20, context=3, select="last"), "Reflect-DiT", ""),
        (
            strategy("reflect", 4, context=1, accept=4, select="best"),
            "Reflect-DiT",
            "accept=1, context=3, select=last, here accept=4, context=1, select=best",
        ),
        (
            strategy("reflect", 20, distinct=False),
            "Reflect-DiT",
            "distinct=True, here distinct=F",
        ),
        (strategy("reflect", 20, context=2), "Reflect-DiT K=2", ""),
        (strategy("reflect", 20, context=2), "Reflect-DiT K=1", "context=1, here context=2"),
        (strategy("best-of-n", 4), "best-of-N", "select=first-accepted, here select=score"),
        (strategy("best-of-n", 4, select="first-accepted"), "best-of-N", ""),
        # How another paper's best-of-N selects is not in the table.
        (strategy("best-of-n", 2048), "best-of-N", ""),
        (strategy("single", 1), "base", ""),
        (strategy("reflect", 1, context=1), "base", ""),
    ],
)
def test_options_make_a_method(change: Any, method: str, differs: str, run: Path) -> None:
    loaded = load_run(run)
    change(loaded.manifest.config)
    points = published_points(load_published(), [loaded])
    budget = loaded.manifest.config["budget"]
    points = points[(points["method"] == method) & (points["n"] == budget)]
    assert len(points)
    for point in points.to_dict("records"):
        result = published.differences(loaded, point)
        assert "method" not in result and "budget" not in result
        assert differs in result.get("options", "") and bool(differs) is ("options" in result)


def test_other_options_are_not_the_published_method(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_run(run)
    printed_as(monkeypatch, micro(run)["high"])
    monkeypatch.setattr(published, "load_run", lambda path: loaded)
    for select, outcome in (("score", Status.NOT_APPLICABLE), ("first-accepted", Status.PASS)):
        loaded.manifest.config["strategy"]["options"] = {"select": select}
        assert check(run).outcome is outcome


def test_an_ablation_is_held_to_its_own_row(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_run(run)
    strategy("reflect", 20, context=2)(loaded.manifest.config)
    monkeypatch.setattr(published, "load_run", lambda path: loaded)
    assert check(run).evidence[0].startswith("Reflect-DiT K=2 at 20")


def test_nothing_is_published_of_such_a_run(run: Path, honest: Path) -> None:
    points = published_points(load_published(), [load_run(run)])
    with pytest.raises(UsageError, match="no published score is of 'best-of-N 7'"):
        published.select(points, "best-of-N 7")
    with pytest.raises(CannotCheck, match="not comparable: the run is of miniature models"):
        check(honest)


def test_a_name_that_nobody_has_is_refused_first(honest: Path) -> None:
    result = CliRunner().invoke(
        audit, [str(honest), "--published", "worst-of-n"], standalone_mode=False
    )
    assert isinstance(result.exception, UsageError)
    assert "did you mean" in result.exception.hint
