"""Runs of the miniature passed off as something larger: labelled, and told by the audit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.audit.audit import audit
from harness.audit.audited_run import AuditedRun, Options
from harness.log.run_folder import RunFolder
from harness.models.suites import load_suite
from tests.audit.forging import Forger
from tests.terminal import ROOT, Terminal

RUN = ROOT / "results" / "reference" / "single-0"
SANA = load_suite("sana-1.0-1.6b")

pytestmark = pytest.mark.skipif(not RUN.exists(), reason="no reference runs are committed yet")


def _renamed(fields: dict[str, Any]) -> None:
    fields.update(suite=SANA.name, miniature=False)


def _with_official_references(fields: dict[str, Any]) -> None:
    _renamed(fields)
    fields["generator"]["checkpoints"].update(SANA.generator.checkpoints)
    for part in ("transformer", "vision_encoder"):
        fields["generator"]["checkpoints"][part] = f"org/{part}"
    fields["judge"]["checkpoints"] = {"detector": "org/judge", "colors": "org/colors"}
    fields["scorer"]["checkpoints"].update(SANA.scorer.checkpoints)


def _scorer_alone(fields: dict[str, Any]) -> None:
    """A generator and a judge that nobody has, with the miniature's scorer."""
    _with_official_references(fields)
    for name in fields["digests"]:
        if not name.startswith("scorer."):
            fields["digests"][name] = "0" * 64


def _unlabelled(fields: dict[str, Any]) -> None:
    fields["miniature"] = False


FORGERIES: dict[str, Callable[[dict[str, Any]], None]] = {
    "a full-size suite's name": _renamed,
    "a full-size suite's name and references": _with_official_references,
    "a full-size generator's name and digests": _scorer_alone,
    "the label taken off": _unlabelled,
}


@pytest.mark.slow
@pytest.mark.sampled(1)
@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES)
def test_it_is_told(forge: Callable[[dict[str, Any]], None], tmp_path: Path) -> None:
    shutil.copytree(RUN, tmp_path / "run")
    Forger(tmp_path / "run").config(forge)
    results = {
        each.check: each for each in audit(AuditedRun(RunFolder(tmp_path / "run"), Options()))
    }
    evidence = " ".join(results["environment"].evidence)
    assert results["environment"].failed
    assert "scorer.detector" in evidence and "does not say so" in evidence


@pytest.mark.slow
def test_it_is_labelled_wherever_it_is_shown(harness: Terminal, tmp_path: Path) -> None:
    shutil.copytree(RUN, tmp_path / "run")
    Forger(tmp_path / "run").config(_with_official_references)
    output = "miniature models: this says something about searching"
    assert harness("show", "run") == 0 and output in harness.out
    assert f"{SANA.name} with another generator.transformer, " in harness.out
    assert harness("ls", "runs", "--root", ".") == 0 and "(miniature)" in harness.out
    assert harness("compare", "run", RUN) == 0 and output in harness.err
    assert "MINIATURE models" in harness.out
    assert harness("simulate", "--from", "run", "--gpus", "1", "--prompts", "3") == 0
    assert output in harness.out
    assert harness("report", "run", "--out", "page", "--gallery", "none") == 0
    assert (
        output in harness.err and "MINIATURE models" in (tmp_path / "page/index.html").read_text()
    )
    table = pd.read_csv(tmp_path / "page/tables/results.csv", comment="#")
    assert table["miniature"].all()
    assert harness("audit", "run", "--regenerate", "0", "--rescore", "0", "--json", "a.json") == 1
    assert json.loads((tmp_path / "a.json").read_text()) and output in harness.out
