from __future__ import annotations

from pathlib import Path

import pytest

from harness.models.suites import Suite, load_suite
from tests.tiny import make_tiny_suite


@pytest.fixture(scope="package")
def tiny_suite(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    return load_suite(make_tiny_suite(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="package")
def tiny_pipeline(tiny_suite: Suite) -> Path:
    return Path(tiny_suite.generator.checkpoints["pipeline"])


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HARNESS_CHECKPOINTS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
