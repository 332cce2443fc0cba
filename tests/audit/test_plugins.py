"""Code that a manifest names by import path is imported with --plugins only, by whichever check."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import registry
from harness.audit.audit import audit
from harness.audit.audited_run import AuditedRun, Options
from harness.log.run_folder import RunFolder
from harness.report import build
from tests.runs import run, stub_plan
from tests.stubs import make_stub_suite


@pytest.mark.slow
@pytest.mark.parametrize("plugins", [False, True])
def test_no_check_imports_what_a_manifest_names(
    plugins: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Benchmark, strategy and models of this run are plug-ins, some searches drew nothing."""
    suite, _ = make_stub_suite(tmp_path)
    stumbling = "tests.analysis.test_curves:Stumbling"
    run(stub_plan(suite, strategy=stumbling, budget=2), tmp_path / "run")
    options = build.Options(gallery=("none",))
    with registry.import_paths(allowed=True):
        build.report([tmp_path / "run"], tmp_path / "run" / "report", options)
    imported: list[str] = []
    real = registry.import_module

    def spy(name: str) -> object:
        imported.append(name)
        return real(name)

    monkeypatch.setattr(registry, "import_module", spy)
    actual = audit(AuditedRun(RunFolder(tmp_path / "run"), Options(plugins=plugins)))
    assert any(name.startswith("tests.") for name in imported) is plugins
    # The stub suite has one folder for judge and scorer, which is all there is to find.
    assert [result.check for result in actual if result.failed] == ["leakage"], actual
