"""The driver is killed while its work is on Ray actors; whoever resumes ends at the same log."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import ray

from harness.engine.ladder import laddered
from harness.log import store
from harness.log.run_folder import RunFolder
from tests.runs import contents, run, stub_plan
from tests.stubs import make_stub_suite
from tests.terminal import PATIENCE, ROOT, SMALL_SHARDS, STUB, start, wait_until


@pytest.mark.timeout(600)
def test_a_killed_driver_resumes_to_the_same_log(tmp_path: Path, ray_cluster: None) -> None:
    suite, faults = make_stub_suite(tmp_path)
    run(laddered(stub_plan(suite, strategy="reflect")), tmp_path / "whole")
    faults.add("generator", "hold", "on-thing 7")  # so that it cannot come to its end before
    address = ray.get_runtime_context().gcs_address
    ray_options = ["--executor", "ray", "--address", address, "--device", "cpu"]
    options = ["--model", str(suite), *STUB, "--budget", "4"]
    options += ["--strategy", "reflect", "--out", str(tmp_path / "r")]
    command = ["run", *options, *ray_options, "--workers", "2"]
    driver = start(command, ROOT, code=SMALL_SHARDS)
    log = tmp_path / "r" / "log"
    try:
        wait_until(lambda: list(log.glob("candidates-*")), driver)
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.communicate()
    assert driver.returncode == -signal.SIGKILL
    rows = store.read(RunFolder(tmp_path / "r").log, "candidates").num_rows
    assert 0 < rows < len(contents(tmp_path / "whole")[0]), "it was in the middle of its work"

    for token in faults.left():
        (faults.folder / token).unlink()
    resumed = start(["resume", str(tmp_path / "r"), "--plugins", *ray_options], ROOT)
    _, err = resumed.communicate(timeout=PATIENCE)
    assert resumed.returncode == 0, err
    assert contents(tmp_path / "r") == contents(tmp_path / "whole")
