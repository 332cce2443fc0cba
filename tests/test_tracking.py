"""Trackers are fed what the display shows, and nothing of theirs reaches the run."""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import tracking
from tests.runs import contents
from tests.terminal import STUB, Terminal

FAKE = """
import json, os, types
def _write(*row):
    with open(os.environ["TRACKED"], "a") as file:
        file.write(json.dumps(row) + "\\n")
"""

WANDB = (
    FAKE
    + """
class Settings:
    def __init__(self, **given): pass
class Run:
    def log(self, values, step): _write("log", step, values)
    def finish(self): _write("finish")
def init(*, config, settings, **given):
    _write("start", config, given)
    return Run()
"""
)

MLFLOW = (
    FAKE
    + """
class MlflowClient:
    runs = []
    def get_experiment_by_name(self, name): return None
    def create_experiment(self, name): return "e"
    def search_runs(self, experiments, filter_string): return self.runs
    def update_run(self, run, status): _write("again", run)
    def create_run(self, experiment, run_name, tags):
        run = types.SimpleNamespace(info=types.SimpleNamespace(run_id="m1"))
        self.runs.append(run)
        return run
    def log_param(self, run, key, value): _write("param", key, value)
    def log_metric(self, run, key, value, step): _write("log", step, {key: value})
    def set_terminated(self, run): _write("finish")
"""
)

FAULTS = {
    "raises": "def init(**given): raise RuntimeError('no network')",
    "exits": "import sys\ndef init(**given): sys.exit('please log in')",
    "broken": "raise ImportError('built for another Python')",
    "hangs": "import time\ndef init(**given): time.sleep(60)",
}


@pytest.fixture
def tracked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file in which fake trackers write; packages in this folder's `site` are found."""
    (tmp_path / "site").mkdir()
    monkeypatch.setenv("TRACKED", str(tmp_path / "tracked.jsonl"))
    monkeypatch.setattr(tracking, "LOG_SECONDS", 0.0)
    yield tmp_path / "tracked.jsonl"
    for name in ("wandb", "mlflow"):
        sys.modules.pop(name, None)


def install(name: str, code: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "site" / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    importlib.invalidate_caches()


@pytest.mark.parametrize(("name", "code"), [("wandb", WANDB), ("mlflow", MLFLOW)])
def test_a_tracker_is_told_what_the_display_shows(
    harness: Terminal, suite: Path, tracked: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, name: str, code: str,
) -> None:  # fmt: skip
    install(name, code, monkeypatch, tmp_path)
    command = ["run", "--model", suite, *STUB, "--budget", "2"]
    assert harness(*command, "--out", "plain") == 0
    assert harness(*command, "--out", "r", "--track", name) == 0
    assert contents(Path("r")) == contents(Path("plain"))
    rows = [json.loads(line) for line in tracked.read_text().splitlines()]
    described = rows[0][1] if name == "wandb" else {row[1]: row[2] for row in rows[:80]}
    assert described["strategy.name"] == "best-of-n" and described["label"].startswith("miniature")
    assert rows[-1] == ["finish"]
    steps = [row for row in rows if row[0] == "log"]
    assert [row[1] for row in steps] == sorted(row[1] for row in steps)
    last: dict[str, float] = {}
    for row in steps:
        last |= row[2]
    assert last["searches_ended"] == 10 and last["draws"] == 20 and last["draws_failed"] == 0
    assert harness("show", "r", "--json", "--plugins") == 0
    assert last["micro"] == pytest.approx(json.loads(harness.out)["scores"]["micro"]["value"])


@pytest.mark.sampled(2)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_failing_tracker_is_one_warning(
    harness: Terminal, suite: Path, tracked: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, fault: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(tracking, "FINISH_SECONDS", 0.5)
    code = f"class Settings:\n    def __init__(self, **given): pass\n{FAULTS[fault]}\n"
    install("wandb", code, monkeypatch, tmp_path)
    command = ["run", "--model", suite, *STUB, "--budget", "2"]
    assert harness(*command, "--out", "plain") == 0
    begun = time.monotonic()
    assert harness(*command, "--out", "r", "--track", "wandb") == 0
    assert time.monotonic() - begun < 30
    assert harness.err.count("the tracker wandb") == 1
    assert contents(Path("r")) == contents(Path("plain"))


def test_a_missing_package_is_refused_before_anything_is_done(
    harness: Terminal, suite: Path, tmp_path: Path
) -> None:
    # Its own files lie in a folder of its name, which is no package.
    (tmp_path / "wandb").mkdir()
    out = ("--out", "r", "--track", "wandb")
    assert harness("run", "--model", suite, *STUB, *out) == 2
    assert "needs the package wandb" in harness.err and "pip install wandb" in harness.err
    assert not Path("r").exists()


def test_what_it_cannot_keep_up_with_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "LOG_SECONDS", 0.0)
    monkeypatch.setattr(tracking, "FINISH_SECONDS", 0.2)
    monkeypatch.setitem(tracking.TRACKERS, "slow", slow)  # type: ignore[call-overload]
    monkeypatch.setattr(tracking.Manifest, "read", lambda path: None)
    warnings: list[str] = []
    folder = tracking.RunFolder(Path("r"))
    progress = tracking.Progress(searches_total=9)
    begun = time.monotonic()
    with tracking.tracking(["slow"], folder, warnings.append) as observe:
        for ended in range(1000):
            progress.searches_ended = ended
            observe(progress)
    assert time.monotonic() - begun < 2 and len(warnings) == 1


def slow(manifest: object, folder: object) -> None:
    time.sleep(5)


@pytest.mark.slow
def test_tensorboard_reads_what_was_written(
    harness: Terminal, suite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="not installed"
    )
    monkeypatch.setattr(tracking, "LOG_SECONDS", 0.0)
    command = ["run", "--model", suite, *STUB, "--budget", "2", "--out", "runs/r"]
    assert harness(*command, "--track", "tensorboard") == 0, harness.err
    assert "the tracker" not in harness.err
    read = events.EventAccumulator("runs/tensorboard/r").Reload()
    micro = read.Scalars("micro")
    assert micro[-1].step == 10
    assert harness("show", "runs/r", "--json", "--plugins") == 0
    assert micro[-1].value == pytest.approx(json.loads(harness.out)["scores"]["micro"]["value"])
    [text] = read.Tensors("run/text_summary")
    assert b"miniature models" in text.tensor_proto.string_val[0]
    assert harness("ls", "runs", "runs") == 0 and len(harness.out.splitlines()) == 2
