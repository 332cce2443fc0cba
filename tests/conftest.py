from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from harness.registry import import_paths
from tests.stubs import Faults, make_stub_suite
from tests.terminal import ROOT, Terminal

# One commit, one outcome: property tests see the same examples every time. To look for new ones:
# pytest --hypothesis-profile=explore
settings.register_profile("repeatable", derandomize=True)
settings.register_profile("explore", print_blob=True, max_examples=500)
settings.load_profile("repeatable")

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave measurements out unless they are asked for: they take minutes and assert no times.

    What waits for Ray to start is slow, so that the fast tier starts none. Of a test that is
    `sampled(n)` the first n parameters stand for all in the fast tier.
    """
    if "perf" not in config.getoption("markexpr"):
        measurements = [item for item in items if item.get_closest_marker("perf")]
        config.hook.pytest_deselected(items=measurements)
        items[:] = [item for item in items if item not in measurements]
    for item in items:
        if "ray_cluster" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)
    samples = Counter[str]()
    for item in items:
        if (mark := item.get_closest_marker("sampled")) is not None:
            name = item.nodeid.partition("[")[0]
            samples[name] += 1
            if samples[name] > mark.args[0]:
                item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the tests' digest cache out of the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Networks this small run several times faster without threads waiting for one another.

    Set before every test and before the fixtures of any scope, for a run in this process sets its
    own number, and a row's last bits depend on it. A torch yet to come takes the environment's.
    """
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One Ray cluster for the whole session (it takes seconds to start), with pretended GPUs."""
    import ray

    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    ray.init(
        num_cpus=8,
        num_gpus=4,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
        object_store_memory=200 * 2**20,
        runtime_env={
            "env_vars": {"PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        },
    )
    yield
    ray.shutdown()


@pytest.fixture
def import_stubs() -> Iterator[None]:
    """Let what manifests name by import path be imported, as --plugins does."""
    with import_paths(allowed=True):
        yield


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A suite of stubs in the test's own folder."""
    return make_stub_suite(tmp_path)[0]


@pytest.fixture
def faults(tmp_path: Path) -> Faults:
    """The faults that can be made to strike that suite."""
    return Faults.make(tmp_path / "faults")


@pytest.fixture
def harness(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Terminal:
    """The command line, in the test's own folder."""
    monkeypatch.chdir(tmp_path)
    return Terminal(capsys, monkeypatch)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A small folder of images in GenEval's layout."""
    from tests.foreign import make_images

    return make_images(tmp_path / "images")


@pytest.fixture(scope="session")
def tiny_suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A suite of tiny random models whose detector takes images as small as they are."""
    from tests.tiny import make_tiny_scoring_suite

    return make_tiny_scoring_suite(tmp_path_factory.mktemp("tiny-suite"))
