"""Metrics beside the score: measured of every image, logged, and no strategy's business."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import harness
from harness.audit.audited_run import AuditedRun, Options
from harness.audit.checks import costs, origins, rescoring, rows
from harness.audit.result import Status
from harness.config import read_config
from harness.engine.launch import totals
from harness.engine.progress import Progress
from harness.errors import UsageError
from harness.identity import Resolver
from harness.log.manifest import Manifest
from harness.log.run_folder import RunFolder
from harness.log.schema import reused_from
from harness.plan import Plan, replan
from harness.registry import import_paths
from harness.runs.summary import summarise
from tests.audit.forging import Forger
from tests.runs import contents, run, stub_plan
from tests.stubs import CHAIN, Faults

METRIC, OTHER = "tests.stubs:StubMetric", "tests.stubs:OtherMetric"


def measuring(suite: Path, *names: str, **ask: Any) -> Plan:
    given = tuple(f"{name}={suite.parent / 'faults'}" for name in names or (METRIC,))
    return stub_plan(suite, metrics=given, **ask)


def with_sign(suite: Path, sign: float, **ask: Any) -> Plan:
    own = suite.with_name(f"sign{sign}.toml")
    own.write_text(f'{suite.read_text()}\n[metric.settings]\n"{METRIC}.sign" = {sign}\n')
    return measuring(own, **ask)


def without_metrics(folder: Path) -> tuple[Any, Any]:
    candidates, searches = contents(folder)
    return candidates.drop_columns(["run", "metrics"]), searches.drop_columns(["run"])


def done(ready: Plan, folder: Path, **options: Any) -> Progress:
    progress = run(ready, folder, **options)
    assert progress is not None
    return progress


@pytest.mark.parametrize("strategy", ["best-of-n", CHAIN])
def test_no_metric_reaches_a_strategy(suite: Path, tmp_path: Path, strategy: str) -> None:
    """With it, with its opposite or without any: the same draws, verdicts, scores and choices."""
    run(stub_plan(suite, strategy=strategy), tmp_path / "none")
    measured = {}
    for sign in (1.0, -1.0):
        folder = tmp_path / str(sign)
        run(with_sign(suite, sign, strategy=strategy), folder)
        assert without_metrics(folder) == without_metrics(tmp_path / "none")
        frame = harness.load(folder)
        assert frame["error"].isna().all() and (frame["metric_device_seconds"] > 0).all()
        measured[sign] = [row[METRIC] for row in frame["metrics"]]
    assert measured[1.0] == [-value for value in measured[-1.0]]
    assert len(set(measured[1.0])) > 5
    assert harness.load(tmp_path / "none")["metrics"].isna().all()


def test_a_metric_belongs_to_the_run_and_to_no_draw(suite: Path) -> None:
    plain, one, two = stub_plan(suite), measuring(suite), measuring(suite, OTHER, METRIC)
    assert len({ready.config.run for ready in (plain, one, two)}) == 3
    assert measuring(suite, METRIC, OTHER).config == two.config
    names = [Resolver.of(ready.config).generators for ready in (plain, one, two)]
    assert names[0] == names[1] == names[2]
    assert f"metric.{METRIC}.faults" in one.config.digests
    dumped = one.config.model_dump(mode="json")
    with import_paths(allowed=True):
        assert replan(read_config(dumped)).config == one.config
    assert "metric" not in plain.config.model_dump(mode="json")


def test_a_metric_that_fails_leaves_everything_else_as_it_was(
    suite: Path, faults: Faults, tmp_path: Path
) -> None:
    """Its error is the row's; verdict, score and choice stay, and the draw can be selected."""
    run(stub_plan(suite), tmp_path / "plain")
    for number in range(3):  # a batch at first, then its rows alone
        faults.add("metric", "nan", number)
    faults.add("metric", "error", "on-thing 3")
    run(measuring(suite), tmp_path / "run")
    frame, plain = harness.load(tmp_path / "run"), harness.load(tmp_path / "plain")
    failed = frame["prompt"] == "thing 3"
    assert (frame.loc[failed, "error_role"] == "metric").all() and failed.sum() == 4
    assert frame.loc[failed, "metrics"].isna().all()
    assert frame.loc[~failed, "error"].isna().all() and frame.loc[~failed, "metrics"].notna().all()
    for column in ("accepted", "judge_score", "correct", "value", "selected", "draw_id"):
        assert frame[column].tolist() == plain[column].tolist()
    summary = summarise(tmp_path / "run")
    assert summary.searches_failed == 0 and summary.micro is not None
    assert summary.micro == summarise(tmp_path / "plain").micro
    with import_paths(allowed=True):
        assert rows.check(AuditedRun(RunFolder(tmp_path / "run"), Options())).outcome is Status.PASS


def test_what_it_costs_is_on_its_own_account(suite: Path, tmp_path: Path) -> None:
    run(stub_plan(suite), tmp_path / "plain")
    run(measuring(suite, METRIC, OTHER), tmp_path / "run")
    sums = totals(RunFolder(tmp_path / "run"), judged=True)
    assert sums["metric_flops"] == 2e6 * sums["draws"]
    assert "metric_flops" not in totals(RunFolder(tmp_path / "plain"), judged=True)
    summary = summarise(tmp_path / "run")
    assert set(summary.cost) == {"generator", "judge", "scorer", "metric"}
    frame = harness.load(tmp_path / "run")
    chosen = frame[frame["selected"]]
    for name in (METRIC, OTHER):
        mean = sum(row[name] for row in chosen["metrics"]) / len(chosen)
        assert summary.metrics[name].value == pytest.approx(mean)
    assert set(summarise(tmp_path / "plain").cost) == {"generator", "judge", "scorer"}


@pytest.mark.parametrize("keep", ["all", "selected"])
def test_a_run_takes_over_what_another_measured_by_the_same(
    suite: Path, tmp_path: Path, keep: str
) -> None:
    run(measuring(suite), tmp_path / "pool")
    ready = measuring(suite, budget=5, keep_images=keep)
    run(ready, tmp_path / "alone")
    progress = done(ready, tmp_path / "run", reuse=[tmp_path / "pool"])
    assert contents(tmp_path / "run") == contents(tmp_path / "alone")
    assert progress.reused.total() == 40
    pool = Manifest.read(RunFolder(tmp_path / "pool").manifest).run
    frame = harness.load(tmp_path / "run")
    assert (frame["metric_worker"] == reused_from(pool)).sum() == 40
    with import_paths(allowed=True):
        audited = AuditedRun(RunFolder(tmp_path / "run"), Options(against=tmp_path / "pool"))
        assert origins.check(audited).outcome is Status.PASS


@pytest.mark.parametrize("theirs", [(), (OTHER,), (METRIC, OTHER)])
def test_what_another_did_not_measure_is_measured_of_its_images(
    suite: Path, tmp_path: Path, theirs: tuple[str, ...]
) -> None:
    before = measuring(suite, *theirs) if theirs else stub_plan(suite)
    run(before, tmp_path / "pool")
    run(measuring(suite), tmp_path / "alone")
    progress = done(measuring(suite), tmp_path / "run", reuse=[tmp_path / "pool"])
    assert contents(tmp_path / "run") == contents(tmp_path / "alone")
    assert progress.reused.total() == 40
    frame = harness.load(tmp_path / "run")
    assert (frame["metric_worker"] == "inline").all()
    with import_paths(allowed=True):
        for against in (None, tmp_path / "pool"):
            audited = AuditedRun(RunFolder(tmp_path / "run"), Options(against=against))
            assert not origins.check(audited).failed and not costs.check(audited).failed


def test_images_that_nobody_kept_cannot_be_measured(suite: Path, tmp_path: Path) -> None:
    run(stub_plan(suite, keep_images="none"), tmp_path / "pool")
    ready = measuring(suite, keep_images="none")
    with pytest.raises(UsageError, match="it kept no images") as caught:
        run(ready, tmp_path / "run", reuse=[tmp_path / "pool"])
    assert "have to be measured" in caught.value.hint


def test_an_audit_measures_again(suite: Path, tmp_path: Path) -> None:
    run(measuring(suite, METRIC, OTHER), tmp_path / "run")
    with import_paths(allowed=True):
        options = Options(rescore=12, plugins=True)
        result = rescoring.check(AuditedRun(RunFolder(tmp_path / "run"), options))
        assert result.outcome is Status.PASS
        assert "the metric was asked again about 12 images" in result.evidence
        forger = Forger(tmp_path / "run")

        def flatter(logged: list[dict[str, Any]]) -> None:
            for row in logged:
                row["metrics"] = [(name, value + 0.25) for name, value in row["metrics"]]

        forger.rewrite("candidates", flatter)
        result = rescoring.check(AuditedRun(RunFolder(tmp_path / "run"), options))
        assert result.failed and any(METRIC in line for line in result.evidence)

        def forget(logged: list[dict[str, Any]]) -> None:
            logged[0]["metrics"] = logged[0]["metrics"][:1]
            logged[1]["metrics"] = [(name, float("nan")) for name, _ in logged[1]["metrics"]]
            logged[2]["metrics"] = None

        forger.rewrite("candidates", forget)
        result = rows.check(AuditedRun(RunFolder(tmp_path / "run"), options))
        assert result.failed and len(result.evidence) >= 3
