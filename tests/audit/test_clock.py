"""A clock that is set back while a run goes on makes no honest run fail its audit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from harness.audit.audit import audit
from harness.audit.audited_run import AuditedRun, Options
from harness.engine import rows
from harness.errors import Interrupted
from harness.log import manifest
from harness.log.run_folder import RunFolder
from tests.runs import run, stub_plan


@pytest.mark.slow
def test_an_honest_run_under_such_a_clock_passes(
    honest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock(datetime):
        """Two hours slow from the first row on, and again by two hours in the next session."""

        behind = timedelta(0)

        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return datetime.now(UTC) - cls.behind

    for module in (rows, manifest):
        monkeypatch.setattr(module, "datetime", Clock)
    ready = stub_plan(honest.parent / "stub.toml", strategy="reflect", budget=4)
    calls = 0

    def stop() -> bool:
        nonlocal calls
        calls += 1
        Clock.behind = timedelta(hours=2)
        return calls > 4

    with pytest.raises(Interrupted):
        run(ready, tmp_path / "run", stop=stop)
    Clock.behind = timedelta(hours=4)
    run(ready, tmp_path / "run")
    results = audit(AuditedRun(RunFolder(tmp_path / "run"), Options(plugins=True)))
    assert not [result for result in results if result.failed]
