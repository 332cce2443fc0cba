"""Runs that earlier programs wrote must open, resume and report in today's.

`tests/golden/logs/vN` holds two runs of schema version N, made by the code of its day: one that
was stopped and one that finished. `tests/golden/logs/make.py` made them.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import harness
from harness.config import read_config
from harness.errors import Interrupted
from harness.log import store
from harness.log.manifest import Manifest
from harness.log.run_folder import RunFolder
from harness.log.schema import CANDIDATES, SCHEMA_VERSION
from harness.log.shards import discover
from harness.plan import replan
from harness.report.build import Options, report
from harness.runs.summary import summarise
from tests.runs import contents, run
from tests.terminal import ROOT

GOLDEN = ROOT / "tests" / "golden" / "logs"
VERSIONS = sorted(path.name for path in GOLDEN.glob("v*"))


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy: the originals must stay as they are."""
    shutil.copytree(GOLDEN / request.param, tmp_path / "golden")
    return tmp_path / "golden"


def test_every_schema_version_has_its_golden_runs() -> None:
    assert {f"v{number}" for number in range(1, SCHEMA_VERSION + 1)} <= set(VERSIONS)


@pytest.mark.slow
def test_a_finished_run_opens_and_reports(version: Path, tmp_path: Path) -> None:
    frame = harness.load(version / "finished")
    assert set(CANDIDATES.names) < set(frame.columns)
    assert len(frame) == 31 and frame["selected"].sum() == 10
    failed = frame[frame["error"].notna()]
    assert set(failed["prompt_id"]) == {"00003"} and set(failed["error_role"]) == {"generator"}
    assert frame["feedback"].map(len).max() == 2
    summary = summarise(version / "finished")
    assert (summary.searches, summary.searches_failed, summary.draws_failed) == (12, 2, 6)
    # Four neighbours of bad draws were tried twice, six draws three times.
    assert summary.retries == int((frame["attempts"] - 1).sum()) > 0
    done = report([version / "finished"], tmp_path / "report", Options(gallery=("random",)))
    assert done.page.read_text(encoding="utf-8").count("<html") == 1


@pytest.mark.usefixtures("import_stubs")
def test_a_stopped_run_resumes_to_the_finished_one(version: Path) -> None:
    stopped = RunFolder(version / "stopped")
    before = store.read(stopped.log, "candidates").num_rows
    assert 0 < before < 31
    ready = replan(read_config(Manifest.read(stopped.manifest).config))
    progress = run(ready, stopped.path)
    assert progress is not None and progress.draws == 31 - before
    assert contents(stopped.path) == contents(version / "finished")
    assert Manifest.read(stopped.manifest).state == "finished"


@pytest.mark.usefixtures("import_stubs")
def test_a_folder_may_hold_shards_of_an_earlier_schema_and_of_todays(version: Path) -> None:
    stopped = RunFolder(version / "stopped")
    ready = replan(read_config(Manifest.read(stopped.manifest).config))
    steps = iter(range(4))
    with pytest.raises(Interrupted):
        run(ready, stopped.path, stop=lambda: next(steps, None) is None)
    files = [shard.path for shard in discover(stopped.log, "candidates")]
    schemas = {pq.read_schema(path).metadata[b"schema_version"] for path in files}
    assert {version_of(version), str(SCHEMA_VERSION).encode()} == schemas
    # An earlier program must not take the folder for one of its own.
    assert Manifest.read(stopped.manifest).schema_version == SCHEMA_VERSION
    frame = harness.load(stopped.path)
    assert frame["stop"].isna().all() and frame["draw_id"].is_unique
    run(ready, stopped.path)
    assert contents(stopped.path) == contents(version / "finished")


def version_of(version: Path) -> bytes:
    """The schema version of the golden runs' shards."""
    shard = next((version / "finished" / "log").glob("candidates-*"))
    stamp: bytes = pq.read_schema(shard).metadata[b"schema_version"]
    return stamp
