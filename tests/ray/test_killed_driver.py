"""The driver is killed while its work is on Ray actors; whoever resumes ends at the same log."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ray

from harness.log import store
from harness.log.run_folder import RunFolder
from tests.runs import contents, run, stub_plan
from tests.stubs import make_stub_suite
from tests.terminal import ROOT

SMALL_SHARDS = (
    "from harness.log.store import LogWriter\n"
    "LogWriter.__init__.__kwdefaults__['shard_rows'] = 4\n"
    "from harness.__main__ import main\n"
    "main()"
)


@pytest.mark.timeout(600)
def test_a_killed_driver_resumes_to_the_same_log(tmp_path: Path, ray_cluster: None) -> None:
    suite, faults = make_stub_suite(tmp_path)
    run(stub_plan(suite, strategy="reflect"), tmp_path / "whole")
    faults.add("generator", "hold", "on-thing 7")  # so that it cannot come to its end before
    address = ray.get_runtime_context().gcs_address
    ray_options = ["--executor", "ray", "--address", address, "--device", "cpu"]
    options = ["--model", str(suite), "--benchmark", "tests.stubs:StubBenchmark", "--budget", "4"]
    options += ["--strategy", "reflect", "--out", str(tmp_path / "r")]
    driver = subprocess.Popen(
        [sys.executable, "-c", SMALL_SHARDS, "run", *options, *ray_options, "--workers", "2"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    log = tmp_path / "r" / "log"
    try:
        end = time.monotonic() + 240
        while not list(log.glob("candidates-*")):
            assert driver.poll() is None and time.monotonic() < end, driver.communicate()
            time.sleep(0.02)
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.communicate()
    assert driver.returncode == -signal.SIGKILL
    rows = store.read(RunFolder(tmp_path / "r").log, "candidates").num_rows
    assert 0 < rows < len(contents(tmp_path / "whole")[0]), "it was in the middle of its work"

    for token in faults.left():
        (faults.folder / token).unlink()
    resumed = subprocess.run(
        [sys.executable, "-m", "harness", "resume", str(tmp_path / "r"), "--plugins", *ray_options],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert resumed.returncode == 0, resumed.stderr
    assert contents(tmp_path / "r") == contents(tmp_path / "whole")
