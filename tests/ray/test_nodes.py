"""A cluster of several nodes, all on this machine: one is lost in mid-run and another one joins.

The run is the command line's, in a process of its own, so that `--address` is tried as well. The
test process holds the cluster and never connects to it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from harness.log.manifest import Manifest
from harness.log.run_folder import RunFolder
from harness.runs.summary import summarise
from tests.runs import contents
from tests.stubs import make_stub_suite
from tests.terminal import PATIENCE, ROOT, STUB, start, wait_until

NODE = {"num_cpus": 2, "num_gpus": 1, "object_store_memory": 80 * 2**20}
HELD = ["generator.hold.0", "generator.hold.1"]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A head without resources; nodes get their environment from this process."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    for name, value in (("PYTHONPATH", path), ("HF_HUB_OFFLINE", "1"), ("NO_COLOR", "1")):
        monkeypatch.setenv(name, value)
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 0,
            "include_dashboard": False,
            "object_store_memory": 80 * 2**20,
        },
    )
    try:
        yield cluster
    finally:
        cluster.shutdown()


def command(suite: Path, out: Path, *where: str) -> list[str]:
    made = ["--model", str(suite), *STUB, "--judge", "none", "--strategy", "single"]
    made += ["--replicates", "4", "--device", "cpu", "--out", str(out)]
    return ["run", *made, *where]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_node_lost_and_one_that_joins_change_nothing(tmp_path: Path, cluster: Cluster) -> None:
    nodes = [cluster.add_node(**NODE), cluster.add_node(**NODE)]
    suite, faults = make_stub_suite(tmp_path)
    calm = start(command(suite, tmp_path / "calm", "--executor", "inline"), ROOT)
    _, err = calm.communicate(timeout=PATIENCE)
    assert calm.returncode == 0, err
    for token in HELD:
        faults.add(*token.split("."))
    before = faults.loaded()
    spread = ["--workers", "2", "--gpu-share", "generator=0.8", "--gpu-share", "scorer=0.2"]
    driver = start(command(suite, tmp_path / "rough", "--address", cluster.address, *spread), ROOT)
    try:
        wait_until(lambda: not faults.left(), driver)  # both generators have a batch, and keep it
        folder = RunFolder(tmp_path / "rough")
        (session,) = Manifest.read(folder.manifest).sessions
        places = {name: where["node"] for name, where in session["workers"].items()}
        assert {places["generator-0"], places["generator-1"]} == {n.node_id for n in nodes}
        cluster.remove_node(nodes[1], allow_graceful=False)
        joined = cluster.add_node(**NODE)
        wait_until(lambda: faults.loaded() == before + 3, driver)
        faults.release()
        out, err = driver.communicate(timeout=PATIENCE)
    finally:
        if driver.poll() is None:
            driver.kill()
            driver.communicate()
    assert driver.returncode == 0, err
    (session,) = Manifest.read(folder.manifest).sessions
    places = {name: where["node"] for name, where in session["workers"].items()}
    assert {places["generator-0"], places["generator-1"]} == {nodes[0].node_id, joined.node_id}
    # A node that vanishes without a word shows as unreachable workers first, then as a lost node.
    kinds = {kind for counts in session["deaths"].values() for kind in counts}
    assert kinds <= {"killed", "node lost"} and sum(session["deaths"]["generator"].values()) >= 1
    assert sum(session["failures"]["generator"].values()) == 1 and session["draws_failed"] == 0
    assert summarise(folder.path).deaths == session["deaths"]
    assert "generator lost: " in out
    assert contents(folder.path) == contents(tmp_path / "calm")
