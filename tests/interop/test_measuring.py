"""Further metrics of a finished run's images, measured afterwards."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import harness as package
from harness.analysis.judging import transfer_table
from harness.engine.executors.inline import InlineExecutor
from harness.log.run_folder import find_runs
from harness.runs.loading import load_run
from tests.terminal import STUB, Terminal

METRIC = "tests.stubs:StubMetric"
RUN = ["run", *STUB, "--model", "stub.toml", "--budget", "3", "--threads", "1"]
LATER = ["--metrics", f"{METRIC}=faults", "--threads", "1"]


def files(run: str) -> dict[str, bytes]:
    own = (path for path in Path(run).rglob("*") if "metrics" not in path.parts)
    return {str(path): path.read_bytes() for path in own if path.is_file()}


def audited(harness: Terminal) -> str:
    """What an audit of the run says of what was measured afterwards; stubs fail other checks."""
    harness("audit", "r", "--regenerate", "0", "--rescore", "0")
    [line] = [line for line in harness.out.splitlines() if line.startswith("measured ")]
    return " ".join(line.split())


def test_it_is_as_if_it_had_been_logged(harness: Terminal, suite: Path) -> None:
    assert harness(*RUN, *LATER[:2], "--out", "logged") == 0
    assert harness(*RUN, "--out", "r") == 0
    before = files("r")
    assert harness("score", "r", *LATER) == 0, harness.err
    assert "measured" in harness.out and files("r") == before
    assert package.load("r")["metrics"].tolist() == package.load("logged")["metrics"].tolist()
    tables = [transfer_table([load_run(run)], ["x"]) for run in ("r", "logged")]
    assert tables[0].equals(tables[1]) and METRIC in set(tables[0]["measure"])
    assert harness("show", "r") == 0 and f"metric    {METRIC}" in harness.out
    assert audited(harness) == f"measured 30 values pass {METRIC}: 30 images"
    assert [run.path for run in find_runs(Path("r"))] == [Path("r")]
    assert harness("score", "r", *LATER) == 0, "as often as it is asked"
    assert harness("score", "logged", *LATER) == 2 and "already" in harness.err


def test_it_goes_on_where_it_was_stopped(
    harness: Terminal, suite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert harness(*RUN, "--out", "r") == 0
    wait, jobs = InlineExecutor.wait, []

    def stopped(self: InlineExecutor, timeout: float) -> object:
        jobs.append(1)
        if len(jobs) == 2:
            raise KeyboardInterrupt
        return wait(self, timeout)

    with monkeypatch.context() as patch:
        patch.setattr(InlineExecutor, "wait", stopped)
        assert harness("score", "r", *LATER, "--batch-size", "4") == 130, harness.err
    assert package.load("r")["metrics"].isna().all(), "half of it counts for nothing"
    assert harness("score", "r", *LATER, "--batch-size", "4") == 0
    assert all(METRIC in row for row in package.load("r")["metrics"])


def test_what_cannot_be_measured_or_is_not_the_run_s_is_said(
    harness: Terminal, suite: Path
) -> None:
    assert harness(*RUN, "--keep-images", "selected", "--out", "few") == 0
    assert harness("score", "few", *LATER) == 2 and "kept selected images only" in harness.err
    assert harness(*RUN, "--out", "r") == 0
    assert harness("score", "r") == 2 and "no metric is named" in harness.err
    assert harness("score", "r", *LATER, "--out", "x") == 2 and "leave --out out" in harness.err
    assert harness("score", "r", *LATER) == 0
    assert harness(*RUN, "--seed", "1", "--out", "other") == 0
    shutil.copytree("r/metrics", "other/metrics")
    assert harness("show", "other") == 1 and "measured of another run" in harness.err
    shutil.rmtree("other/metrics")
    image = next(Path("other/images").rglob("*.png"))
    image.write_bytes(b"x")
    assert harness("score", "other", *LATER) == 1 and "is damaged" in harness.err
    shard = next(Path("r/metrics").rglob("candidates-*.parquet"))
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-9] + b"x" * 9)
    assert "fail" in audited(harness)
    shard.write_bytes(whole)
    shutil.copy(next(Path("other/log").glob("candidates-*.parquet")), shard.parent)
    assert "fail" in audited(harness)
